package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/curfew/internal/oidc"
	"example.com/curfew/internal/oidc/oidctest"
)

// Errors go into the log: a provider that repeats the request in them must not put the
// secrets there.
func TestErrorsHaveNoSecrets(t *testing.T) {
	secrets := oidc.NewSecrets()
	const code = "the-code/of+this?attempt"
	r := oidc.Registration{ClientID: "curfew:1", ClientSecret: "sésame & 100%", RedirectURI: "https://curfew.example/sign-in/corp/callback"}
	basic := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(r.ClientSecret)))
	for name, said := range map[string]string{
		"the client secret": r.ClientSecret, "the client secret, encoded": url.QueryEscape(r.ClientSecret), "the header": "Basic " + basic,
		"the code": code, "the code, encoded": url.QueryEscape(code), "the verifier": secrets.Verifier, "the nonce": secrets.Nonce, "the state": secrets.State,
		"at the end": strings.Repeat("x", 195) + code,
	} {
		for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized} {
			for _, member := range []string{"error", "error_description"} {
				t.Run(fmt.Sprint(name, " ", status, " ", member), func(t *testing.T) {
					p := oidctest.New(t)
					p.Answer = func(w http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path != "/token" {
							return false
						}
						w.Header().Set("Content-Type", "application/json")
						w.WriteHeader(status)
						body := map[string]string{"error": "invalid_request"}
						body[member] = "before " + said + " after"
						_ = json.NewEncoder(w).Encode(body)
						return true
					}
					r := r
					r.Issuer = p.Issuer
					_, err := oidc.New(oidc.Config{}).Exchange(t.Context(), r, secrets, url.Values{"code": {code}, "iss": {p.Issuer}})
					if err == nil || !strings.Contains(err.Error(), "before ") {
						t.Fatalf("error %v", err)
					}
					for _, secret := range []string{"same", basic, code[:8], secrets.Verifier, secrets.Nonce, secrets.State} {
						if strings.Contains(err.Error(), secret) {
							t.Errorf("the error is %v", err)
						}
					}
					if !strings.Contains(err.Error(), "[redacted]") && name != "at the end" || len(err.Error()) > 600 {
						t.Errorf("the error is %v", err)
					}
				})
			}
		}
	}
}
