package inbound_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"example.com/curfew/internal/inbound"
)

// A proxy that was forgotten in the configuration is noticed, once.
func TestUnknownProxy(t *testing.T) {
	for _, tt := range []struct {
		name, peer, header string
		want               bool
	}{
		{"loopback", "127.0.0.1:1", "X-Forwarded-For", true},
		{"loopback of IPv6", "[::1]:1", "X-Forwarded-For", true},
		{"private", "10.1.2.3:1", "X-Forwarded-For", true},
		{"private, in IPv6", "[fd00::1]:1", "Forwarded", true},
		{"Forwarded", "192.168.0.1:1", "Forwarded", true},
		{"trusted", "10.9.0.1:1", "X-Forwarded-For", false},
		{"from the internet, where anyone may send it", "203.0.113.1:1", "X-Forwarded-For", false},
		{"without such a header", "127.0.0.1:1", "X-Other", false},
		{"no address", "@", "X-Forwarded-For", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			proxy := &inbound.UnknownProxy{}
			handler := inbound.Wrap(inbound.Config{
				TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}, UnknownProxy: proxy,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			for range 3 {
				r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
				r.RemoteAddr = tt.peer
				r.Header.Set(tt.header, "198.51.100.7")
				handler.ServeHTTP(httptest.NewRecorder(), r)
			}
			warnings := strings.Count(log.String(), "--trusted-proxies, so")
			if tt.want != (warnings == 1) || !tt.want && warnings != 0 || tt.want != proxy.Address().IsValid() {
				t.Errorf("%d warnings, address %v; want a warning: %v\n%s", warnings, proxy.Address(), tt.want, log.String())
			}
			if host, _, _ := strings.Cut(strings.TrimPrefix(tt.peer, "["), ":1"); tt.want && !strings.HasPrefix(strings.TrimPrefix(tt.peer, "["), proxy.Address().String()) {
				t.Errorf("address %v, want %s", proxy.Address(), host)
			}
		})
	}
}
