package app

import (
	"context"
	"fmt"
	"strings"

	"example.com/curfew/internal/console"
	"example.com/curfew/internal/httpapi"
	"example.com/curfew/internal/inbound"
)

// prefixOf returns the path of an issuer, below which the server answers; "" is the
// root. The server answers at the root too, for proxies that take the path away: so
// the path must not be the beginning of a path of its own.
func prefixOf(issuer string) (string, error) {
	prefix, err := inbound.Prefix(issuer)
	if err != nil || prefix == "" {
		return "", err
	}
	patterns := append(console.Patterns(), "/assets/", httpapi.DocsPath)
	for _, route := range httpapi.Routes() {
		patterns = append(patterns, route.Pattern)
	}
	name := firstName(prefix)
	for _, pattern := range patterns {
		if firstName(pattern[strings.IndexByte(pattern, '/'):]) == name {
			return "", fmt.Errorf("the path %q begins as paths of Curfew itself do; use another, such as /curfew", prefix)
		}
	}
	return prefix, nil
}

// firstName returns what stands between the first slash of a path and the next.
func firstName(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return name
}

// serveBelow makes the server answer below the path of the issuer. An installation
// that was made before such paths were checked goes on at the root.
func (h *host) serveBelow(ctx context.Context, issuer string) {
	prefix, err := prefixOf(issuer)
	if err != nil {
		h.log.WarnContext(ctx, "the issuer's path can't be served, so links and redirects lead to the root of the host", "issuer", issuer, "error", err)
	}
	h.prefix = prefix
}
