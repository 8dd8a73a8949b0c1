package console

import "net/http"

// policy is what a page may load and do: our own style sheet, script, pictures and
// answers, and nothing else. Nothing is inline, so that injected markup cannot act;
// no page may be framed; forms go nowhere else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	formsGo + "; frame-ancestors 'none'; base-uri 'none'"

// formsGo is the part of the policy that says where forms go. See signOut for the one page
// that has more of it.
const formsGo = "form-action 'self'"

// guard puts the headers on every answer of the console that keep a browser from
// being made an accomplice.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		// Addresses hold users' ids: other sites must not learn them.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		// The back button after signing out must show nothing.
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
