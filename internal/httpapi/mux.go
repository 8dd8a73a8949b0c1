package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/inbound"
)

// mux returns a handler that finds the route of a request. http.ServeMux finds
// the pattern; the method is looked at here, so that 404 and 405 are problems
// like all others, and nothing is redirected to a path that the caller did not
// mean.
func (a *api) mux(routes []Route) http.Handler {
	byPattern := map[string][]*Route{}
	var forwardAuth *Route
	for i := range routes {
		r := &routes[i]
		if r.Pattern == verifyPath {
			forwardAuth = r // and for every path below it, of any form: see isVerify
		}
		byPattern[r.Pattern] = append(byPattern[r.Pattern], r)
	}
	mux := http.NewServeMux()
	for pattern, routes := range byPattern {
		mux.Handle(pattern, a.methods(pattern, routes))
	}
	rest := a.Rest
	if rest == nil {
		rest = http.HandlerFunc(notFound)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forwardAuth != nil && isVerify(r.URL) {
			a.serve(forwardAuth, w, r)
			return
		}
		_, pattern := mux.Handler(r)
		switch {
		// ServeMux would redirect an unclean path to what it takes for the meaning.
		case byPattern[pattern] != nil && isClean(r.URL.EscapedPath()):
			mux.ServeHTTP(w, r)
		case Owns(r.URL.Path) || !strings.HasPrefix(r.URL.Path, "/"):
			notFound(w, r)
		case a.Docs != nil && isDocs(r.URL.Path):
			of := inbound.Of(r)
			of.Route, of.Quiet = DocsPath, true
			a.Docs.ServeHTTP(w, r)
		default:
			inbound.Of(r).Route = "console"
			rest.ServeHTTP(w, r)
		}
	})
}

// Owns reports whether a path is the API's, be there a route or not.
func Owns(path string) bool {
	for _, prefix := range []string{"/v1/", "/oauth/", "/.well-known/"} {
		if strings.HasPrefix(path, prefix) || path == strings.TrimSuffix(prefix, "/") {
			return true
		}
	}
	return path == "/livez" || path == "/readyz" || path == "/openapi.yaml"
}

// DocsPath is the path of the documentation.
const DocsPath = "/docs"

// isDocs reports whether a path is that of the documentation or below it.
func isDocs(path string) bool { return path == DocsPath || strings.HasPrefix(path, DocsPath+"/") }

// isClean reports whether a path has no empty segment, no "." and no "..": two
// programs never disagree about what a clean path means.
func isClean(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

func notFound(w http.ResponseWriter, r *http.Request) {
	fail(w, r, fmt.Errorf("%w: no such path", fault.ErrNotFound))
}

// methods returns a handler that finds the route by its method. HEAD is answered
// wherever GET is; net/http leaves the body out.
func (a *api) methods(pattern string, routes []*Route) http.Handler {
	byMethod := map[string]*Route{}
	for _, r := range routes {
		byMethod[r.Method] = r
	}
	var allowed []string
	for method := range byMethod {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return a.crossOrigin(pattern, routes, func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		route := byMethod[method]
		if route == nil {
			route = byMethod[""]
		}
		if route == nil {
			inbound.Of(r).Route = pattern
			w.Header().Set("Allow", allow)
			fail(w, r, fmt.Errorf("%w: allowed methods: %s", fault.ErrBadMethod, allow))
			return
		}
		a.serve(route, w, r)
	})
}
