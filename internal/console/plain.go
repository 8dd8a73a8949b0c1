package console

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"example.com/curfew/token"
)

// A plainView says that the browser does not keep the session cookie at this address,
// and what to do.
type plainView struct {
	Encrypted string // address of the sign-in page with TLS; "" if it is not known
	Local     string // address that works on the server itself
	Safari    string // with Safari on this machine, the address: other browsers keep the cookie there
}

// plain returns what to say to a browser that drops the session cookie: browsers keep
// a cookie with Secure only if it comes over HTTPS, or, except for Safari, from this
// machine (RFC 6265bis, section 5.7, step 8). Nil: the browser keeps it, as far as the
// request tells.
//
// None of the headers that it reads has to be true: they decide what a page says, and
// a client could deceive only itself.
func (p *signInPages) plain(x *exchange) *plainView {
	h := x.r.Header
	host := x.host()
	local := isLocal(host)
	safari := local && isSafari(x.r.UserAgent())
	if isEncrypted(x.r) || local && !safari {
		return nil
	}
	if !local && h.Get("Sec-Fetch-Site") != "" {
		return nil // browsers send it to trustworthy addresses only (Fetch Metadata, section 2)
	}
	view := &plainView{Local: "http://localhost"}
	if safari {
		view.Safari = "http://" + clip(host, 80)
	}
	if _, port, err := net.SplitHostPort(host); err == nil {
		view.Local += ":" + port
	}
	view.Local += x.prefix
	if strings.HasPrefix(p.issuer, "https://") {
		view.Encrypted = signInAddress(p.issuer)
	}
	return view
}

// signInAddress returns the address of an issuer's sign-in page; "" without an issuer.
func signInAddress(issuer string) string {
	if issuer == "" {
		return ""
	}
	return strings.TrimSuffix(issuer, "/") + "/sign-in"
}

// isEncrypted reports whether the browser has sent the request over TLS, as far as it
// or a proxy says.
func isEncrypted(r *http.Request) bool {
	h := r.Header
	return r.TLS != nil ||
		strings.Contains(strings.ToLower(h.Get("X-Forwarded-Proto")), "https") ||
		strings.Contains(strings.ToLower(h.Get("Forwarded")), "proto=https") ||
		strings.HasPrefix(h.Get("Origin"), "https://") || strings.HasPrefix(h.Get("Referer"), "https://")
}

// isLocal reports whether a host, with a port or without, is the browser's own machine.
func isLocal(host string) bool {
	name := strings.ToLower((&url.URL{Host: host}).Hostname())
	address, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && address.Unmap().IsLoopback()
}

// isSafari reports whether a User-Agent is that of Safari. Others have its name in
// theirs.
func isSafari(agent string) bool {
	return strings.Contains(agent, "Safari/") && strings.Contains(agent, "Version/") && !strings.Contains(agent, "Chrom") && !strings.Contains(agent, "Android")
}

// warnPlain logs, once, that browsers cannot sign in at an address without TLS.
func (p *signInPages) warnPlain(x *exchange) {
	p.toldPlain.Do(func() {
		x.log.WarnContext(x.ctx, "the sign-in page was opened over plain HTTP, where browsers do not keep the session cookie; "+
			"use HTTPS (--tls-cert and --tls-key, or a proxy with TLS that sends X-Forwarded-Proto), or http://localhost on this machine",
			"host", clip(x.r.Host, 100))
	})
}

// continuePage is where a sign-in goes on if the browser may have dropped the cookie:
// it looks whether the cookie has come back.
func (p *signInPages) continuePage(x *exchange) error {
	switch {
	case x.session != nil:
		return x.goOn(p.returnTo(x))
	case token.ReasonOf(x.refused) != token.ErrMissing:
		return x.refused
	}
	view := p.view(x)
	view.CookieLost = true
	return x.ok("sign-in", view)
}

// host returns the host that the browser asked, as far as the request tells. It need
// not be true: a client could deceive only itself.
func (x *exchange) host() string {
	if origin, err := url.Parse(x.r.Header.Get("Origin")); err == nil && origin.Host != "" {
		return origin.Host // as the browser has it, whatever a proxy made of Host
	}
	if forwarded := x.r.Header.Get("X-Forwarded-Host"); forwarded != "" {
		return forwarded
	}
	return x.r.Host
}
