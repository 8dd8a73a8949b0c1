package console

import (
	"net/url"
	"testing"
)

func TestBack(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"/", "/"},
		{"/users", "/users"},
		{"/users/a:b@c|d~e", "/users/a:b@c%7Cd~e"},
		{"/users?search=%2F%2Fevil&cursor=x", "/users?search=%2F%2Fevil&cursor=x"},
		{"/audit?person=a#there", "/audit?person=a"},

		{"", "/"},
		{"users", "/"},
		{"?a=b", "/"},
		{"//evil", "/"},
		{"///evil", "/"},
		{"/\\evil", "/"},
		{"\\\\evil", "/"},
		{"/\t/evil", "/"},
		{"/\n/evil", "/"},
		{"\t//evil", "/"},
		{" //evil", "/"},
		{"/%09/evil", "/"},
		{"/%0a/evil", "/"},
		{"/%0d%0aSet-Cookie:a=b", "/"},
		{"/%5cevil", "/"},
		{"/%5C/evil", "/"},
		{"/%2fevil", "/"},
		{"/%2Fevil.example/%2e%2e", "/"},
		{"/.//evil", "/"},
		{"/..//evil", "/"},
		{"/users/..//evil", "/"},
		{"/%2e/%2e./evil", "/"},
		{"/users/", "/"},
		{"/%", "/"},
		{"/\x00", "/"},
		{"/ü", "/"},
		{"/\u2028", "/"},
		{"javascript:alert(1)", "/"},
		{"JaVaScRiPt:alert(1)", "/"},
		{"/javascript:alert(1)", "/javascript:alert%281%29"},
		{"data:text/html,x", "/"},
		{"https://evil", "/"},
		{"https:evil", "/"},
		{"http:/evil", "/"},
		{"//evil@here/", "/"},
		{"/sign-in?return=/sign-in", "/"},
		{"/sign-out", "/"},
	} {
		if got := back(tt.raw); got != tt.want {
			t.Errorf("back(%q) = %q, want %q", tt.raw, got, tt.want)
		}
	}
}

// Whatever goes in, a browser stays on this host, and going round once more
// changes nothing.
func FuzzBack(f *testing.F) {
	for _, seed := range []string{"/users?x=y", "//evil", "/\\evil", "/%09/evil", "/%2f/evil", "javascript:x", "/a/../b"} {
		f.Add(seed)
	}
	here, _ := url.Parse("https://here.example/sign-in")
	f.Fuzz(func(t *testing.T, raw string) {
		got := back(raw)
		to, err := here.Parse(got)
		if err != nil {
			t.Fatalf("back(%q) = %q: %v", raw, got, err)
		}
		if to.Scheme != "https" || to.Host != here.Host || to.User != nil {
			t.Errorf("back(%q) = %q leads to %s", raw, got, to)
		}
		if again := back(got); again != got {
			t.Errorf("back(%q) = %q, but back of that is %q", raw, got, again)
		}
	})
}
