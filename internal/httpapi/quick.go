package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/webcookie"
)

// quick is the short way of forward auth. A proxy asks /v1/verify about each of its
// requests, and nearly every answer is the same as the last: the token was proven
// before, and is valid. Such a request needs no route, no deadline (it waits for
// nothing), no address of the client and no line in the log. All other requests,
// and all refusals, take the ordinary way, which gives the same answers.
//
// internal/bench compares its cost with that of a handler that does nothing.
func (a *api) quick(ordinary http.Handler) http.Handler {
	logger := a.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != verifyPath || !a.quickVerify(w, r, logger) {
			ordinary.ServeHTTP(w, r)
		}
	})
}

const verifyPath = "/v1/verify"

var (
	noStore = []string{"no-store"} // shared by all answers: net/http only reads it
	anyone  = context.Background()
)

// quickVerify answers if it can, and else does nothing.
func (a *api) quickVerify(w http.ResponseWriter, r *http.Request, logger *slog.Logger) bool {
	if r.URL.RawQuery != "" || r.URL.RawPath != "" || r.ContentLength != 0 || len(r.TransferEncoding) > 0 ||
		len(r.Header["X-Request-Id"]) > 0 || logger.Enabled(anyone, slog.LevelDebug) {
		return false
	}
	began := a.now()
	c := call{api: a, r: r}
	raw, byCookie, err := c.tokenOrCookie()
	if err != nil {
		return false
	}
	s := a.Validator.ValidateRemembered(r.Context(), raw)
	if s == nil || byCookie && webcookie.Due(s, a.Settings.Current().Settings, began) {
		return false
	}
	values := [...]string{s.Subject, s.ID, inbound.NewID()}
	h := w.Header()
	h["Remote-User"], h["Curfew-Session"], h["X-Request-Id"] = values[0:1:1], values[1:2:2], values[2:3:3]
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusOK)
	a.Metrics.Request(verifyPath, r.Method, http.StatusOK, a.now().Sub(began))
	return true
}
