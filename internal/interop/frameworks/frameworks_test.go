// Package frameworks tries what the documentation says about other frameworks for
// HTTP. It is a module of its own, so that they do not become requirements of
// Curfew's.
package frameworks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
	"example.com/curfew/token/tokentest"
)

// events are what a handler tells the test: that it waits, and why its context has
// ended.
type events struct {
	waits chan struct{}
	ended chan error
}

// serve is what every handler does: it says whose session it is, and waits for its
// end if it is told to.
func serve(ctx context.Context, tell events, wait bool) string {
	subject := bearer.Session(ctx).Subject
	if wait {
		tell.waits <- struct{}{}
		<-ctx.Done()
		tell.ended <- context.Cause(ctx)
	}
	return subject
}

func wait(r *http.Request) bool { return r.Header.Get("Wait") != "" }

// frameworks are the handlers as the documentation has them.
var frameworks = map[string]func(v *token.Validator, tell events) http.Handler{
	"chi": func(v *token.Validator, tell events) http.Handler {
		r := chi.NewRouter()
		r.Use(bearer.Require(v))
		r.Get("/", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(serve(r.Context(), tell, wait(r))))
		})
		return r
	},
	"echo": func(v *token.Validator, tell events) http.Handler {
		e := echo.New()
		e.Use(echo.WrapMiddleware(bearer.Require(v)))
		e.GET("/", func(c echo.Context) error {
			return c.String(http.StatusOK, serve(c.Request().Context(), tell, wait(c.Request())))
		})
		return e
	},
	"gin": func(v *token.Validator, tell events) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		g := gin.New()
		g.Use(func(c *gin.Context) {
			next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { c.Request = r; c.Next() })
			bearer.Require(v)(next).ServeHTTP(c.Writer, c.Request)
			c.Abort() // what was refused; after Next it has no effect
		})
		g.GET("/", func(c *gin.Context) { c.String(http.StatusOK, serve(c.Request.Context(), tell, wait(c.Request))) })
		return g
	},
	"connect": func(v *token.Validator, tell events) http.Handler {
		handler := connect.NewUnaryHandler("/test.Service/Get",
			func(ctx context.Context, r *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
				return connect.NewResponse(wrapperspb.String(serve(ctx, tell, r.Header().Get("Wait") != ""))), nil
			}, connect.WithIdempotency(connect.IdempotencyNoSideEffects))
		mux := http.NewServeMux()
		mux.Handle("/test.Service/", bearer.Require(v)(handler))
		return mux
	},
}

func TestFrameworks(t *testing.T) {
	for name, build := range frameworks {
		t.Run(name, func(t *testing.T) {
			issuer := tokentest.New(t)
			tell := events{waits: make(chan struct{}), ended: make(chan error, 1)}
			server := httptest.NewServer(build(issuer.Validator(), tell))
			defer server.Close()
			url := server.URL + "/"
			if name == "connect" {
				url = server.URL + "/test.Service/Get?encoding=json&message=%22%22"
			}
			get := func(raw, wait string) int {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if raw != "" {
					r.Header.Set("Authorization", "Bearer "+raw)
				}
				if wait != "" {
					r.Header.Set("Wait", wait)
				}
				got, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got.Body.Close()
				return got.StatusCode
			}
			raw := issuer.Token("ann")
			if status := get(raw, ""); status != http.StatusOK {
				t.Errorf("a good token: %d, want 200", status)
			}
			if status := get("", ""); status != http.StatusUnauthorized {
				t.Errorf("no token: %d, want 401", status)
			}
			done := make(chan struct{})
			go func() { defer close(done); get(raw, "1") }()
			<-tell.waits
			issuer.Revoke(revocation.User("ann"))
			if cause := <-tell.ended; token.ReasonOf(cause) != token.ErrRevoked {
				t.Errorf("the handler's context ended with %v, want %v", cause, token.ErrRevoked)
			}
			<-done
			if status := get(raw, ""); status != http.StatusUnauthorized {
				t.Errorf("a revoked token: %d, want 401", status)
			}
		})
	}
}
