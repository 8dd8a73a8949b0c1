package webcookie

import (
	"strings"
	"testing"
)

func TestReturns(t *testing.T) {
	secure := Returns{Issuer: "https://login.example.com", Hosts: []string{"app.example.com", "other.example.com:8443"}}
	plain := Returns{Issuer: "http://127.0.0.1:8420", Hosts: []string{"app.example.com"}}
	for _, tt := range []struct {
		name    string
		list    Returns
		address string
		want    bool
	}{
		{"on the list", secure, "https://app.example.com/invoices?page=2&x=a,b", true},
		{"without a path", secure, "https://app.example.com", true},
		{"in capitals", secure, "https://APP.example.com/", true},
		{"with its port", secure, "https://other.example.com:8443/", true},
		{"our own", secure, "https://login.example.com/profile", true},
		{"in the clear where we are", plain, "http://app.example.com/", true},
		{"encrypted where we are not", plain, "https://app.example.com/", true},

		{"nothing", secure, "", false},
		{"the zero list", Returns{}, "https://app.example.com/", false},
		{"the zero list, no host", Returns{}, "https:///", false},
		{"from encrypted to clear", secure, "http://app.example.com/", false},
		{"another host", secure, "https://evil.example/", false},
		{"a host that begins with ours", secure, "https://app.example.com.evil.example/", false},
		{"a host that ends with ours", secure, "https://evilapp.example.com/", false},
		{"a host below ours", secure, "https://x.app.example.com/", false},
		{"another port", secure, "https://app.example.com:444/", false},
		{"without its port", secure, "https://other.example.com/", false},
		{"a user that looks like a host", secure, "https://app.example.com@evil.example/", false},
		{"a user", secure, "https://u:p@app.example.com/", false},
		{"a path", secure, "/profile", false},
		{"no scheme", secure, "//app.example.com/", false},
		{"a script", secure, "javascript://app.example.com/%0aalert(1)", false},
		{"opaque", secure, "https:app.example.com/", false},
		{"three slashes", secure, "https:///app.example.com/", false},
		{"a backslash", secure, `https://evil.example\@app.example.com/`, false},
		{"a backslash in front", secure, `https:\\app.example.com/`, false},
		{"a tab", secure, "https://app.example.com/\tx", false},
		{"a line break", secure, "https://app.example.com/\r\nSet-Cookie: a=b", false},
		{"a space", secure, " https://app.example.com/", false},
		{"not ASCII", secure, "https://app.example.com/é", false},
		{"a fullwidth dot in the host", secure, "https://app．example.com/", false},
		{"escapes in the host", secure, "https://app%2eexample.com/", false},
		{"markup", secure, `https://app.example.com/"><script>`, false},
		{"as long as may be", secure, "https://app.example.com/" + strings.Repeat("a", maxReturn-len("https://app.example.com/")), true},
		{"too long", secure, "https://app.example.com/" + strings.Repeat("a", maxReturn-len("https://app.example.com/")+1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.list.Allow(tt.address); got != tt.want {
				t.Errorf("Allow(%q) = %v, want %v", tt.address, got, tt.want)
			}
		})
	}
}

func TestEscape(t *testing.T) {
	list := Returns{Issuer: "https://login.example.com", Hosts: []string{"app.example.com"}}
	for _, tt := range []struct {
		address, want string
		allowed       bool
	}{
		{"https://app.example.com/a?b=%26&c=d+e#f", "https://app.example.com/a?b=%26&c=d+e#f", true},
		{"https://app.example.com/é <\"> ~\u7f8e", "https://app.example.com/%C3%A9%20%3C%22%3E%20~%E7%BE%8E", true},
		{`https://app.example.com?a\b`, "https://app.example.com?a%5Cb", true},
		{"https://app.example.com", "https://app.example.com", true},

		{`https://app.example.com\@evil.example/`, `https://app.example.com\@evil.example/`, false},
		{"https://app.example.com é/", "https://app.example.com é/", false},
		{"https://app.example.com/\t", "https://app.example.com/\t", false},
		{"https://app.example.com/\x7f", "https://app.example.com/\x7f", false},
		{"https://app.example.com/\xff", "https://app.example.com/\xff", false},
		{"javascript:é", "javascript:é", false},
		{"/é", "/é", false},
		{"", "", false},
	} {
		if got := Escape(tt.address); got != tt.want || list.Allow(got) != tt.allowed {
			t.Errorf("Escape(%q) = %q, allowed: %v; want %q, %v", tt.address, got, list.Allow(got), tt.want, tt.allowed)
		}
	}
}

func TestEscapeReturn(t *testing.T) {
	for _, tt := range []struct{ query, want string }{
		{"", ""},
		{"why=revoked", "why=revoked"},
		{"return=http%3A%2F%2Fa.test%2F%3Fb%26c&why=revoked", "return=http%3A%2F%2Fa.test%2F%3Fb%26c&why=revoked"},
		{"return=/profile&why=revoked", "return=/profile&why=revoked"},
		{"return=//a.test/?b&c", "return=//a.test/?b&c"},
		{"return=javascript://a.test/&c", "return=javascript://a.test/&c"},
		{"noreturn=http://a.test/?b&c", "noreturn=http://a.test/?b&c"},
		{"return=http://a.test/list?page=2&q=a%26b", "return=http%3A%2F%2Fa.test%2Flist%3Fpage%3D2%26q%3Da%2526b"},
		{"return=https://a.test/?x=1;y+z", "return=https%3A%2F%2Fa.test%2F%3Fx%3D1%3By%2Bz"},
		{"why=revoked&return=http://a.test/?b&return=http://b.test/", "why=revoked&return=http%3A%2F%2Fa.test%2F%3Fb%26return%3Dhttp%3A%2F%2Fb.test%2F"},
		{"return=http://a.test/ü#\"", "return=http%3A%2F%2Fa.test%2F%C3%BC%23%22"},
	} {
		if got := EscapeReturn(tt.query); got != tt.want {
			t.Errorf("EscapeReturn(%q)\n got %s\nwant %s", tt.query, got, tt.want)
		}
	}
}
