package httpapi

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestPreferredWait(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  time.Duration
		given bool
	}{
		{nil, 0, false},
		{[]string{"wait=5"}, 5 * time.Second, true},
		{[]string{"wait=0"}, 0, true},
		{[]string{"WAIT = 5"}, 5 * time.Second, true},
		{[]string{`wait="5"`}, 5 * time.Second, true},
		{[]string{"respond-async, wait=7"}, 7 * time.Second, true},
		{[]string{"respond-async", "wait=7"}, 7 * time.Second, true},
		{[]string{"wait=7; foo=bar, return=minimal"}, 7 * time.Second, true},
		{[]string{`foo="a, wait=1", wait=2`}, 2 * time.Second, true},
		{[]string{"wait=3, wait=9"}, 3 * time.Second, true}, // the first counts
		{[]string{"wait=29"}, 29 * time.Second, true},
		{[]string{"wait=30"}, 30 * time.Second, true},
		{[]string{"wait=31"}, 30 * time.Second, true},
		{[]string{"wait=4294967295"}, 30 * time.Second, true},
		{[]string{"wait=99999999999999999999"}, 30 * time.Second, true},
		{[]string{"wait=-1"}, 0, false},
		{[]string{"wait=1.5"}, 0, false},
		{[]string{"wait=soon"}, 0, false},
		{[]string{"wait"}, 0, false},
		{[]string{"wait="}, 0, false},
		{[]string{"waiting=5"}, 0, false},
		{[]string{`"`}, 0, false},
		{[]string{`foo="\`}, 0, false},
	} {
		got, given := preferredWait(http.Header{"Prefer": tt.lines})
		if got != tt.want || given != tt.given {
			t.Errorf("%q: %v, %v; want %v, %v", tt.lines, got, given, tt.want, tt.given)
		}
	}
}

func TestAsksForHTML(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/*": false, "text/html;q=0": false, "text/html;q=0.000": false,
		"text/html; q=x": false, "text/htmlx": false, `application/json;x="text/html"`: false, `application/json;x=",text/html"`: false,
		"text/html": true, "TEXT/HTML": true, "text/html;q=0.9": true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
	} {
		if got := asksForHTML(http.Header{"Accept": {accept}}); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}

func TestPages(t *testing.T) {
	key := func(s string) string { return s }
	all := []string{"a", "b", "c", "d", "e"}
	var seen []string
	after := ""
	for range 3 {
		page, next := pageAfter(all, after, 2, key)
		seen = append(seen, page...)
		after = next
	}
	if !slices.Equal(seen, all) || after != "" {
		t.Errorf("pages of two: %v, then %q", seen, after)
	}
	for _, n := range []int{4, 5, 6} {
		page, next := pageAfter(all, "", n, key)
		if len(page) != min(n, 5) || (next != "") != (n < 5) {
			t.Errorf("pages of %d: %v, next %q", n, page, next)
		}
	}
	if page, _ := pageAfter(all, "gone", 2, key); !slices.Equal(page, all[:2]) {
		t.Errorf("behind one that is gone: %v", page)
	}
	if page, next := pageAfter([]string{}, "", 2, key); page == nil || len(page) != 0 || next != "" {
		t.Errorf("of nothing: %v, %q", page, next)
	}
}

func TestCursors(t *testing.T) {
	q, err := checkQuery("cursor="+cursor("users", "ann\u00e9"), []string{"cursor"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := position(q, "users"); got != "ann\u00e9" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, list := range []string{"audit", ""} {
		if _, err := position(q, list); err == nil {
			t.Errorf("the cursor of one list is one of %q", list)
		}
	}
	for _, text := range []string{"", "x", "W10", "e30", cursor("users", ""), cursor("users", "a\x00b")} {
		q.Set("cursor", text)
		if got, err := position(q, "users"); err == nil {
			t.Errorf("%q is a cursor for %q", text, got)
		}
	}
}

func TestQueries(t *testing.T) {
	for raw, good := range map[string]bool{
		"": true, "limit=5": true, "limit=5&cursor=a": true, "cursor=": true,
		"Limit=5": false, "limit=5&limit=5": false, "other=1": false, "limit=%zz": false, "limit=1;cursor=2": false,
		"cursor=%00": false, "cursor=%ff": false, "cursor=a%0Ab": false, "access_token=x": false,
	} {
		if _, err := checkQuery(raw, []string{"limit", "cursor"}); (err == nil) != good {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for text, want := range map[string]int{"1": 1, "499": 499, "500": 500} {
		q, _ := checkQuery("limit="+text, []string{"limit"})
		if n, err := limit(q); n != want || err != nil {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "0", "501", "-1", "1.5", "x", "99999999999999999999", "%2b1"} {
		q, _ := checkQuery("limit="+text, []string{"limit"})
		if n, err := limit(q); err == nil {
			t.Errorf("%q is a limit of %d", text, n)
		}
	}
	if n, err := limit(nil); n != defaultLimit || err != nil {
		t.Errorf("no limit: %d, %v", n, err)
	}
}
