package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/webcookie"
	"example.com/curfew/token"
)

// An exchange is a request, the caller as far as known, and the answer under
// construction.
type exchange struct {
	*base
	w   http.ResponseWriter
	r   *http.Request
	rt  route
	ctx context.Context // of this one request; it ends with it

	origin  authz.Origin
	session *token.Session // nil: not signed in
	caller  authz.Caller   // of the session
	refused error          // why there is no session; nil if there is

	// cookie, if not nil, is what the answer does to the cookie. The last word
	// counts: a revocation replaces what a refresh had put here, so that no answer
	// carries a token that its own request has just revoked.
	cookie func(http.ResponseWriter)
	sent   bool // the answer has begun
}

const (
	answerWithin  = 2 * time.Second // the default of Config.Timeout
	brieflyWithin = time.Second
	slowWithin    = 10 * time.Second
	bulkWithin    = 25 * time.Second // 10 000 users at once
	maxForm       = 64 << 10
	maxUpload     = 8 << 20 // 10 000 names of the greatest length, and the form around them
)

// handler makes an http.Handler of a route.
func (b *base) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		within := b.timeout
		switch {
		case rt.brief:
			within = min(within, brieflyWithin)
		case rt.large:
			within = max(within, bulkWithin)
		case rt.slow:
			within = max(within, slowWithin)
		}
		ctx, cancel := context.WithTimeout(r.Context(), within)
		defer cancel()
		seen := inbound.Of(r)
		_, path, _ := strings.Cut(rt.pattern, " ")
		seen.Route, seen.Quiet = path, rt.machine
		x := &exchange{
			base: b, w: w, r: r, rt: rt, ctx: ctx,
			origin: authz.Origin{Address: seen.Text(), RequestID: seen.ID, Device: seen.Device},
		}
		if err := x.serve(rt); err != nil {
			x.fail(err)
		}
	})
}

func (x *exchange) serve(rt route) error {
	if err := x.readForm(rt); err != nil {
		return err
	}
	x.refused = x.authenticate()
	if x.session != nil {
		inbound.Of(x.r).User = x.session.Subject
	}
	if rt.needs != anyone {
		if x.refused != nil {
			return x.refused
		}
		if !rt.needs.met(x.caller) {
			return authz.Forbidden(string(rt.needs))
		}
		if !rt.machine && x.personal() {
			if err := x.refresh(); err != nil {
				return err
			}
		}
		if x.posted().Get(confirmPassword) != "" {
			ctx, cancel := context.WithTimeout(x.r.Context(), max(x.timeout, bulkWithin))
			defer cancel()
			x.ctx = ctx
			if answered, err := x.confirm(); answered || err != nil {
				return err
			}
		}
	}
	return rt.serve(x)
}

// readForm reads the body before anything is decided, so that what was typed is
// at hand whatever the answer will be.
func (x *exchange) readForm(rt route) error {
	limit := int64(maxForm)
	if rt.large {
		limit = maxUpload
	}
	x.r.Body = http.MaxBytesReader(x.w, x.r.Body, limit)
	switch rt.pattern {
	case "GET /sign-in", "GET /sign-in/{provider}", "GET /reauthenticate":
		x.r.URL.RawQuery = webcookie.EscapeReturn(x.r.URL.RawQuery)
	}
	var err error
	if strings.HasPrefix(x.r.Header.Get("Content-Type"), "multipart/form-data") && rt.large {
		err = x.r.ParseMultipartForm(limit)
	} else {
		err = x.r.ParseForm()
	}
	if err == nil {
		return nil
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errTooLarge
	}
	return errBadForm
}

// authenticate identifies the caller.
func (x *exchange) authenticate() error {
	raw, err := x.jar.Read(x.ctx, x.r, x.validator.Validate)
	if err != nil {
		return err
	}
	s, err := x.validator.Validate(x.ctx, raw)
	if err != nil {
		return err
	}
	caller, err := x.callers.UserCaller(x.ctx, s, x.origin)
	if err != nil {
		return err
	}
	x.session, x.caller = s, caller
	return nil
}

// personal reports whether a person caused the request. Pages that renew themselves
// and pages that a browser prefetches do not count: they must not keep a session
// alive.
func (x *exchange) personal() bool {
	h := x.r.Header
	return x.r.URL.Query().Get(renewed) == "" &&
		!strings.HasPrefix(h.Get("Sec-Purpose"), "prefetch") &&
		(x.r.Method == http.MethodPost || h.Get("Sec-Fetch-Dest") == "" || h.Get("Sec-Fetch-Dest") == "document")
}

// renewed marks the address of a page that fetches itself anew.
const renewed = "renewed"

// refresh gives the session a new token if one is due. That it cannot be had now
// is no reason to refuse what the old one still allows.
func (x *exchange) refresh() error {
	if !webcookie.Due(x.session, x.inForce(), x.now()) {
		return nil
	}
	issued, err := x.own.Refresh(x.ctx, x.session)
	switch {
	case err == nil:
		x.keep(issued.Token, issued.Session)
		x.session, x.caller.Session = &issued.Session, &issued.Session
		return nil
	case token.ReasonOf(err) == token.ErrUnavailable:
		x.log.WarnContext(x.ctx, "console: session not refreshed; the next request tries again", "request_id", x.origin.RequestID, "error", err)
		return nil
	}
	x.session, x.caller, x.refused = nil, authz.Caller{}, err
	return err
}

// keep gives the browser a token with the answer.
func (x *exchange) keep(raw string, s token.Session) {
	in, now := x.inForce(), x.now()
	x.cookie = func(w http.ResponseWriter) { x.jar.Set(w, raw, s, in, now) }
}

// keepAlone is keep for a sign-in, which replaces every cookie of the name.
func (x *exchange) keepAlone(raw string, s token.Session) {
	x.keep(raw, s)
	set := x.cookie
	x.cookie = func(w http.ResponseWriter) {
		x.jar.ClearOthers(w, x.host())
		set(w)
	}
}

// endPresented ends every session that the browser presented: the session of the
// request or, if there are several cookies, those of all. It returns them.
func (x *exchange) endPresented() ([]*token.Session, error) {
	presented, err := x.jar.Sessions(x.ctx, x.r, x.validator.Validate)
	if err != nil {
		return nil, err
	}
	for _, s := range presented {
		if err := x.own.SignOut(x.ctx, s, x.origin); err != nil {
			return nil, err
		}
	}
	return presented, nil
}

// keepOf is keep for the token that a receipt carries: that of the caller's
// session, with nothing changed but its epoch.
func (x *exchange) keepOf(r session.Receipt) {
	if r.Issued == nil {
		return
	}
	x.keep(r.Issued.Token, *x.session)
}

// forget takes the cookie away with the answer, and whatever the browser still
// has of the pages that it opened: some keep pages whole for the back button in
// spite of no-store.
func (x *exchange) forget() {
	x.cookie = func(w http.ResponseWriter) {
		x.jar.ClearOthers(w, x.host())
		x.jar.Clear(w)
		w.Header().Set("Clear-Site-Data", `"cache"`)
	}
}

// value returns a field of the form, or of the address for GET.
func (x *exchange) value(name string) string {
	if x.r.Method == http.MethodPost {
		return x.posted().Get(name)
	}
	return x.r.Form.Get(name)
}

// posted returns the fields of the form that was sent; nil if none was.
func (x *exchange) posted() url.Values {
	return x.r.PostForm //nolint:forbidigo // the field, not http.PostForm
}

// chosen returns those of the checkboxes that are checked.
func (x *exchange) chosen(names []string) []string {
	held := []string{}
	for _, name := range names {
		if x.value(name) != "" {
			held = append(held, name)
		}
	}
	return held
}

func (x *exchange) text(name string) string { return strings.TrimSpace(x.value(name)) }

// when returns an instant for people.
func (x *exchange) when(at time.Time) when { return when{at, x.now()} }

func (x *exchange) micro(us int64) when { return x.when(time.UnixMicro(us)) }

// redirect sends the browser on after something was done, so that loading the
// page again does not do it again. The path is one without the prefix.
func (x *exchange) redirect(path string, query ...string) error {
	x.begin()
	x.w.Header().Set("Location", x.prefix+withQuery(path, query...))
	x.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// withQuery returns a path with a query of names and values.
func withQuery(path string, query ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	return address(path, q)
}

// begin writes the headers that every answer has.
func (x *exchange) begin() {
	x.sent = true
	if x.cookie != nil {
		x.cookie(x.w)
	}
}

// userPath returns the address of a user's page, or of a page below it.
func userPath(id string, below ...string) string {
	return "/users/" + url.PathEscape(id) + strings.Join(below, "")
}
