package inbound

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// metadataPath is where RFC 8414, section 3, puts the metadata of an issuer. The path
// of the issuer comes behind it.
const metadataPath = "/.well-known/oauth-authorization-server"

// Prefix returns the path of an issuer without a slash at its end: the path below
// which browsers and clients see the server. "" is the root. A path that programs could
// read in two ways is an error.
func Prefix(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", err
	}
	prefix := strings.TrimSuffix(u.EscapedPath(), "/")
	if prefix == "" {
		return "", nil
	}
	for segment := range strings.SplitSeq(prefix[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || strings.Trim(segment, unreserved) != "" {
			return "", fmt.Errorf(`the path %q must consist of names of letters, digits, "-", ".", "_" and "~", each after one slash`, u.EscapedPath())
		}
	}
	return prefix, nil
}

// unreserved are the characters that mean the same with and without percent-encoding
// (RFC 3986, section 2.3).
const unreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"

// Below returns a handler that passes requests for paths below the prefix on without
// it. Others pass as they are, since many proxies take the prefix away themselves: so
// no path of next may begin with the prefix. Proxies that take it away without the slash
// behind it leave two ("location /curfew { proxy_pass http://127.0.0.1:8420/; }" in
// nginx): one of them is dropped. With the prefix "" it returns next.
func Below(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, raw := r.URL.Path, r.URL.RawPath
		switch {
		case path == prefix && raw == "":
			path = "/"
		case path == metadataPath+prefix || path == metadataPath+prefix+"/":
			path, raw = metadataPath, ""
		case strings.HasPrefix(path, prefix+"/") && (raw == "" || strings.HasPrefix(raw, prefix+"/")):
			path, raw = strings.TrimPrefix(path, prefix), strings.TrimPrefix(raw, prefix)
		case strings.HasPrefix(path, "//") && (raw == "" || strings.HasPrefix(raw, "//")):
			path, raw = path[1:], strings.TrimPrefix(raw, "/")
		default:
			next.ServeHTTP(w, r)
			return
		}
		u := *r.URL
		u.Path, u.RawPath = path, raw
		below := *r
		below.URL = &u
		next.ServeHTTP(w, &below)
	})
}
