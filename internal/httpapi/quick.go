package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/servertoken"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
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
	count := a.Metrics.Answered(verifyPath)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isVerify(r.URL) || !a.quickVerify(w, r, logger, count) {
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
func (a *api) quickVerify(w http.ResponseWriter, r *http.Request, logger *slog.Logger, count func(method string, took time.Duration)) bool {
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || len(r.Header["X-Request-Id"]) > 0 || logger.Enabled(anyone, slog.LevelDebug) {
		return false
	}
	q := a.questions.of(r)
	if q.wrongAge != nil || q.preflight && len(r.Header["Access-Control-Request-Method"]) > 0 || q.cookieOnly && len(r.Header["Authorization"]) > 0 {
		return false
	}
	began := a.now()
	raw, byCookie, ok := a.quickToken(r)
	if !ok {
		return false
	}
	s := servertoken.Remembered(r.Context(), a.Validator, raw)
	if s == nil || byCookie && webcookie.Due(s, a.Settings.Current().Settings, began) {
		return false
	}
	if s.CheckAuthTime(q.maxAge, began) != nil {
		return false
	}
	who, complete := a.claimed(s)
	if !complete && a.Accounts != nil {
		if who, complete = a.looked.get(refreshKey{s.ID, s.LastRefresh}, began); !complete {
			return false
		}
	}
	if q.groups != nil && !who.isIn(q.groups) {
		return false
	}
	h := w.Header()
	h["X-Request-Id"] = introduce(h, s, who, inbound.NewID())
	h["Cache-Control"] = noStore
	w.WriteHeader(http.StatusOK)
	count(r.Method, a.now().Sub(began))
	return true
}

// quickToken returns the token that tokenOrCookie would return, if the request has
// one in the usual form.
func (a *api) quickToken(r *http.Request) (raw string, byCookie, ok bool) {
	if len(r.Header["Authorization"]) > 0 {
		raw, err := bearer.FromRequest(r)
		if !errors.Is(err, token.ErrMissing) {
			return raw, false, err == nil
		}
	}
	raw, ok = a.Jar.Single(r)
	return raw, true, ok
}
