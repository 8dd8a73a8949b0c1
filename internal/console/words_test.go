package console

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/token"
)

func TestHarmless(t *testing.T) {
	for _, h := range append(hostile, "=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "＝1", "＋1", "－1", "＠1", "\x00=1", "") {
		got := harmless(h)
		if got != h && got != "'"+h {
			t.Errorf("harmless(%.20q) = %.20q", h, got)
		}
		if trimmed := strings.TrimLeft(got, " \u00a0\u3000"); trimmed != "" && strings.ContainsRune("=+-@\t\r\n\x00＝＋－＠", []rune(trimmed)[0]) {
			t.Errorf("harmless(%.20q) = %.20q", h, got)
		}
	}
	for _, text := range []string{"a=b", "0", "7", "999999999999999", "10.0.0.1", "10.0.0.1a", "2001:db8::1", "1795453200123456 x", "E4", "12E", "a 0042", "2026-11-23T17:00:00.123456Z", "{}"} {
		if got := harmless(text); got != text {
			t.Errorf("harmless(%q) = %q", text, got)
		}
	}
	for _, text := range []string{"1000000000000000", "1795453200123456", "00", "0042", "1e5", "12E45", "1.0", "1.50", "1,234", "192.168.100.100", "\u200b=1", "\u2003=1", "\u0085=1", " 0042 ", "\x7fx"} {
		if got := harmless(text); got != "'"+text {
			t.Errorf("harmless(%q) = %q", text, got)
		}
	}
	var b bytes.Buffer
	if err := csv.NewWriter(&b).Write([]string{harmless("=1")}); err != nil {
		t.Error(err)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 20 * time.Minute: "20 minutes", 90 * time.Minute: "1 hour 30 minutes",
		20 * 24 * time.Hour: "20 days", 90061 * time.Second: "1 day 1 hour 1 minute 1 second", -time.Minute: "0 seconds",
	} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		20*24*time.Hour - 20*time.Second: "20 days", 48*time.Hour - 10*time.Second: "2 days", 36 * time.Hour: "1 day 12 hours", 36*time.Hour + 20*time.Minute: "1 day 12 hours", 10 * time.Hour: "10 hours",
		2*time.Hour - time.Second: "2 hours", 100*time.Minute - 5*time.Second: "1 hour 40 minutes", 20*time.Minute - time.Second: "20 minutes", 9*time.Minute + 29*time.Second: "9 minutes 29 seconds", 0: "0 seconds",
	} {
		if got := roughly(d); got != want {
			t.Errorf("roughly(%v) = %q, want %q", d, got, want)
		}
	}
	now := time.Unix(1e9, 0)
	for d, want := range map[time.Duration]string{
		0: "just now", 9 * time.Second: "just now", 10 * time.Second: "10 seconds ago", time.Minute: "1 minute ago", 3 * time.Minute: "3 minutes ago",
		59*time.Minute + 59*time.Second: "59 minutes ago", time.Hour: "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "400 days ago",
		-5 * time.Second: "just now", -6 * time.Second: "in 6 seconds", -2 * time.Hour: "in 2 hours",
		-59*time.Minute - 40*time.Second: "in 1 hour", -29*time.Minute - 20*time.Second: "in 29 minutes", -47*time.Hour - 40*time.Minute: "in 2 days",
		-20*24*time.Hour + time.Second: "in 20 days", -10*24*time.Hour - 11*time.Hour: "in 10 days",
	} {
		if got := (when{now.Add(-d), now}).Ago(); got != want {
			t.Errorf("%v ago: %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 sessions", 1: "1 session", 2: "2 sessions", 9999: "9999 sessions", 10_000: "10\u202f000 sessions", 1_234_567: "1\u202f234\u202f567 sessions", -12_345: "-12\u202f345 sessions"} {
		if got := count(n, "session"); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := (when{time.UnixMicro(1795453200123456), now}).Micro(); got != "23 November 2026, 17:00:00.123456 UTC" {
		t.Errorf("Micro: %q", got)
	}
	for _, r := range token.Reasons() {
		if r != token.ErrUnavailable && whyEnded(string(r)) == "" {
			t.Errorf("nothing is said to people about %s", r)
		}
		if refusal(r) == "" {
			t.Errorf("nothing is said to administrators about %s", r)
		}
	}
	for why, want := range map[string]string{
		"idle_timeout": "Your session timed out for lack of activity.", "maximum_duration": "Your session reached the maximum session duration.",
		"revoked": "Your session was revoked.", "expired": "Your session has expired.", "not_yet_valid": "Your session is dated in the future: a server’s clock is wrong.",
		"missing": "Sign in to open this page.", "bad_signature": "Your session is no longer accepted.", "signed_out": "You have signed out.",
		"unavailable": "", "": "", "hacked": "",
	} {
		if got := whyEnded(why); got != want {
			t.Errorf("%q: %q, want %q", why, got, want)
		}
	}
	if got := clip("aé\u2028zz", 2); got != "aé…" {
		t.Errorf("clip: %q", got)
	}
}

func TestDurationTyped(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "1200": 20 * time.Minute, " 20m ": 20 * time.Minute, "20 Minutes": 20 * time.Minute, "1h30m": 90 * time.Minute, "1h 30 min": 90 * time.Minute,
		"1 day, 2 hours": 26 * time.Hour, "20d": 20 * 24 * time.Hour, "90 secs": 90 * time.Second,
		"9223372036": 9223372036 * time.Second, "9223372037": 9223372036 * time.Second, "9999999999999d": 106751 * 24 * time.Hour,
	} {
		if got, ok := durationTyped(text); got != want || !ok {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "m", "-5", "+5", "1e3", "1.5h", "1h1h", "20 mm", "20m5", "20 dogs", "١", "99999999999999999999", "99999999999999999999d", "1h\n30m"} {
		if got, ok := durationTyped(text); ok {
			t.Errorf("%q: %v, and should be refused", text, got)
		}
	}
	for _, d := range []time.Duration{time.Second, 61 * time.Second, 20 * time.Minute, 25*time.Hour + time.Second, 400 * 24 * time.Hour} {
		if got, ok := durationTyped(duration(d)); got != d || !ok {
			t.Errorf("%q is read as %v", duration(d), got)
		}
	}
}

func TestDevice(t *testing.T) {
	for agent, want := range map[string][2]string{
		"": {"Unknown device", deviceUnknown},
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                     {"Firefox on Linux", deviceDesktop},
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":              {"Edge on Windows", deviceDesktop},
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15":                      {"Safari on macOS", deviceDesktop},
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1":     {"Chrome on iPhone", deviceMobile},
		"Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1":             {"Safari on iPad", deviceMobile},
		"Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36": {"Samsung Internet on Android", deviceMobile},
		"Mozilla/5.0 (compatible)":            {"Mozilla/5.0 (compatible)", deviceUnknown},
		"Mozilla/5.0 (Windows NT) curl/8.5.0": {"curl on Windows", deviceProgram},
		"curl/8.5.0":                          {"curl", deviceProgram},
		"curfew-cli":                          {"Curfew’s command line", deviceProgram},
		"(FreeBSD)":                           {"A program on FreeBSD", deviceProgram},
		"my own tool":                         {"my own tool", deviceProgram},
	} {
		if name, kind := device(agent); name != want[0] || kind != want[1] {
			t.Errorf("device(%q) = %q, %q; want %q", agent, name, kind, want)
		}
	}
}

func TestPlot(t *testing.T) {
	in := span{words: "the last hour", each: "a minute", width: time.Minute, bars: 4, tick: 2, labels: timeOfDay}
	counts := []int64{0, 1, 1000, 500}
	if got := happened("Sign-ins", in, counts); got != "Sign-ins in the last hour: 1501 in all, at most 1000 in a minute." {
		t.Error(got)
	}
	if got := stood("Live sessions", in, []int64{3, 7, 5}); got != "Live sessions in the last hour: 5 now, at most 7." {
		t.Error(got)
	}
	begin := time.Date(2026, 11, 23, 17, 1, 0, 0, time.UTC)
	p := draw(in, begin, counts, "sign-in", false)
	for i, want := range []bar{
		{X: "2.000%", Y: "100.000%", Width: "21.000%", Height: "0.000%", Count: "0 sign-ins", At: begin},
		{X: "27.000%", Y: "98.500%", Width: "21.000%", Height: "1.500%", Count: "1 sign-in", At: begin.Add(time.Minute)}, // seen, however small
		{X: "52.000%", Y: "0.000%", Width: "21.000%", Height: "100.000%", Count: "1000 sign-ins", At: begin.Add(2 * time.Minute)},
		{X: "77.000%", Y: "50.000%", Width: "21.000%", Height: "50.000%", Count: "500 sign-ins", At: begin.Add(3 * time.Minute)},
	} {
		if p.Bars[i] != want {
			t.Errorf("bar %d: %+v, want %+v", i, p.Bars[i], want)
		}
	}
	if want := []level{{"0%", 1000}, {"50%", 500}, {"100%", 0}}; !slices.Equal(p.Levels, want) {
		t.Errorf("levels %v, want %v", p.Levels, want)
	}
	if want := []tick{{X: "25.000%", Label: "17:02", At: begin.Add(time.Minute)}, {X: "75.000%", Label: "17:04", At: begin.Add(3 * time.Minute)}}; !slices.Equal(p.Ticks, want) {
		t.Errorf("ticks %v, want %v", p.Ticks, want)
	}
	if p := draw(in, begin, counts, "sign-in", true); !p.Bars[0].At.Equal(begin.Add(time.Minute)) {
		t.Errorf("a count of the end of its part is dated %v", p.Bars[0].At)
	}
	if p := draw(in, begin.Add(-time.Minute), counts, "sign-in", false); len(p.Ticks) != 2 || p.Ticks[0].X != "0.000%" {
		t.Errorf("ticks of a span that begins at one: %v", p.Ticks)
	}
	for most, want := range map[int64]int64{0: 2, 1: 2, 2: 2, 3: 4, 5: 6, 7: 10, 11: 12, 13: 16, 17: 20, 999: 1000, 1001: 1200, 123_456: 160_000} {
		if got := roundUp([]int64{0, most}); got != want {
			t.Errorf("the axis for %d ends at %d, want %d", most, got, want)
		}
	}
	from := time.Unix(0, 0)
	got := stretches(3, from, time.Minute, func(yield func(time.Time, int64)) {
		for _, at := range []time.Duration{-1, 0, time.Minute - 1, time.Minute, 3*time.Minute - 1, 3 * time.Minute} {
			yield(from.Add(at), 1)
		}
	})
	if !slices.Equal(got, []int64{2, 1, 1}) {
		t.Errorf("stretches: %v", got)
	}
}
