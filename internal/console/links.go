package console

import (
	"net/http"
	"path"
	"strings"
)

// below returns a replacer that puts a prefix in front of every path of this host in a
// page: of links, forms, the style sheet, the script, and what the script asks for. It
// works on the finished page, so that no template can forget one. In a finished page
// these words stand in tags only: html/template escapes the quotes of everything else.
func below(prefix string) *strings.Replacer {
	if prefix == "" {
		return strings.NewReplacer()
	}
	var pairs []string
	for _, attribute := range []string{` href="`, ` action="`, ` src="`, ` data-receipt="`, ` data-instead="`, ` content="2; url=`} {
		pairs = append(pairs, attribute+"/", attribute+prefix+"/")
	}
	return strings.NewReplacer(pairs...)
}

// tidy redirects requests for a path with empty segments or dots to what it means.
// http.ServeMux does that too, but knows no prefix.
func tidy(prefix string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As it is encoded: an encoded slash or dot separates nothing.
		sent := r.URL.EscapedPath()
		clean := path.Clean("/" + sent)
		if clean == sent || clean+"/" == sent {
			next.ServeHTTP(w, r)
			return
		}
		if r.URL.RawQuery != "" {
			clean += "?" + r.URL.RawQuery
		}
		w.Header().Set("Location", prefix+clean)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}
