package trace

import (
	"net/http"
	"strings"
	"testing"
)

const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestFrom(t *testing.T) {
	id := strings.Repeat("a", 32)
	for _, c := range []struct {
		name, parent string
		want         bool
	}{
		{"version 0", good, true},
		{"not sampled", good[:53] + "00", true},
		{"a later version", "01" + good[2:], true},
		{"a later version with more", "01" + good[2:] + "-more", true},
		{"version 0 with more", good + "-more", false},
		{"a later version with more, without a dash", "01" + good[2:] + "more", false},
		{"version ff", "ff" + good[2:], false},
		{"upper case", strings.ToUpper(good), false},
		{"too short", good[:54], false},
		{"a trace id of zeros", "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", false},
		{"a span id of zeros", "00-" + id + "-" + strings.Repeat("0", 16) + "-01", false},
		{"no hexadecimal", strings.Replace(good, "4bf9", "4bg9", 1), false},
		{"a dash moved", "00-" + id + "a-0f067aa0ba902b7-01", false},
		{"a space before", " " + good, false},
		{"a line break behind a later version", "01" + good[2:] + "-a\nb", false},
		{"too long", "01" + good[2:] + "-" + strings.Repeat("a", 500), false},
		{"empty", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			h.Set("traceparent", c.parent)
			h.Set("tracestate", "vendor=1")
			p, out := From(h), http.Header{}
			Pass(p.With(t.Context()), out)
			if got := p.ID() != ""; got != c.want {
				t.Errorf("ID %q", p.ID())
			}
			want, state := "", ""
			if c.want {
				want, state = c.parent, "vendor=1"
			}
			if out.Get("traceparent") != want || out.Get("tracestate") != state {
				t.Errorf("it passes on %v", out)
			}
		})
	}
	p := From(http.Header{"Traceparent": {good}})
	if p.ID() != "4bf92f3577b34da6a3ce929d0e0e4736" || p.Span() != "00f067aa0ba902b7" {
		t.Errorf("%q, %q", p.ID(), p.Span())
	}
	if p := From(http.Header{"Traceparent": {good, good}}); p.ID() != "" {
		t.Errorf("twice: %q", p.ID())
	}
	for _, state := range []string{strings.Repeat("a", 513), "a=\x00"} {
		out := http.Header{}
		Pass(From(http.Header{"Traceparent": {good}, "Tracestate": {state}}).With(t.Context()), out)
		if out.Get("traceparent") != good || out.Get("tracestate") != "" {
			t.Errorf("with the state %q it passes on %v", state, out)
		}
	}
}
