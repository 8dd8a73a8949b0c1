package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/fault"
	"example.com/curfew/token/jwks"
)

// live is GET /livez: the process is up.
func live(c *call) error {
	return c.json(http.StatusOK, map[string]string{"status": "live"})
}

// ready is GET /readyz: requests should be sent here.
func ready(c *call) error {
	if c.Ready != nil {
		if err := c.Ready(c.ctx); err != nil {
			return fmt.Errorf("%w: %w", fault.ErrNotReady, err)
		}
	}
	health := struct {
		Status   string   `json:"status"`
		Warnings []string `json:"warnings,omitempty"`
	}{Status: "ready"}
	if c.Warnings != nil {
		health.Warnings = c.Warnings()
	}
	return c.json(http.StatusOK, health)
}

//go:embed openapi.yaml
var openAPIDocument []byte

// openAPI is GET /openapi.yaml.
func openAPI(c *call) error {
	return c.public("application/yaml", openAPIDocument, 0)
}

// showKeys is GET /.well-known/jwks.json. Caches may keep the answer for as long as
// a new key is published before it signs, so that they know the key of every token.
func showKeys(c *call) error {
	body, err := jwks.Marshal(c.Keys.Current().All()...)
	if err != nil {
		return fmt.Errorf("%w: %w", fault.ErrInternal, err)
	}
	return c.public(jwks.MediaType, body, c.keyCache())
}

// serverMetadata is RFC 8414, section 2, with the member of Global Token
// Revocation. There is no authorization endpoint: the lists that describe it are
// empty, which they are shown as, since clients insist on one of them and take
// the other's absence for "authorization code".
type serverMetadata struct {
	Issuer                        string   `json:"issuer"`
	JWKSURI                       string   `json:"jwks_uri"`
	ResponseTypes                 []string `json:"response_types_supported"`
	GrantTypes                    []string `json:"grant_types_supported"`
	IntrospectionEndpoint         string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods      []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationEndpoint            string   `json:"revocation_endpoint"`
	RevocationAuthMethods         []string `json:"revocation_endpoint_auth_methods_supported"`
	GlobalTokenRevocationEndpoint string   `json:"global_token_revocation_endpoint"`
	ServiceDocumentation          string   `json:"service_documentation"`
}

// metadata is GET /.well-known/oauth-authorization-server.
func metadata(c *call) error {
	base := strings.TrimSuffix(c.Issuer, "/")
	basic := []string{"client_secret_basic"}
	documentation := base + "/openapi.yaml"
	if c.Docs != nil {
		documentation = base + DocsPath
	}
	body, err := json.Marshal(serverMetadata{
		Issuer:                        c.Issuer,
		JWKSURI:                       base + "/.well-known/jwks.json",
		ResponseTypes:                 []string{},
		GrantTypes:                    []string{},
		IntrospectionEndpoint:         base + "/oauth/introspect",
		IntrospectionAuthMethods:      basic,
		RevocationEndpoint:            base + "/oauth/revoke",
		RevocationAuthMethods:         append([]string{"none"}, basic...),
		GlobalTokenRevocationEndpoint: base + "/oauth/global-token-revocation",
		ServiceDocumentation:          documentation,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", fault.ErrInternal, err)
	}
	return c.public("application/json", body, time.Hour)
}

// public answers with a document that any client may read and cache for a while,
// and without its body if the caller has it already (RFC 9110, section 13.1.2).
func (c *call) public(kind string, body []byte, keep time.Duration) error {
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := c.w.Header()
	h.Set("ETag", tag)
	if keep > 0 {
		h.Set("Cache-Control", "public, must-revalidate, max-age="+strconv.FormatInt(int64(keep/time.Second), 10))
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	for one := range list(strings.Join(c.r.Header.Values("If-None-Match"), ",")) {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			c.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(body) // the caller is gone if this fails
	return nil
}
