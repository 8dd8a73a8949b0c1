package console

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// hostile are texts that people and programs may have put wherever they can.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`</textarea><script>alert(1)</script>`,
	`</title></code></pre><script>alert(1)</script>`,
	`javascript:alert(1)`,
	"a\u2028b\u2029c",
	"\u202eevil\u202d \u2066x\u2069 \u200f",
	`{{.}} {{template "layout"}} ${alert(1)}`,
	`<!--<style>*{display:none}</style>`,
	"\x00\x1b[31m\r\nSet-Cookie: a=b",
	strings.Repeat("A", 10<<10),
	strings.Repeat("Zalgo\u0336 ", 1<<10),
}

// views are the view of each page, empty.
func views() map[string]any {
	return map[string]any{
		"sign-in": signInView{}, "message": messageView{}, "confirm": confirmView{}, "profile": profileView{},
		"settings": settingsView{}, "settings-preview": settingsView{Preview: &settingsPreview{}},
		"users": usersView{}, "new-user": newUserView{}, "user": userView{}, "bulk": bulkView{}, "receipt": receiptPage{},
		"audit": auditView{}, "keys": keysView{}, "services": servicesView{}, "secret": secretView{}, "overview": overviewView{},
	}
}

// fill sets everything within v: texts to text, lists to two elements, numbers
// and instants to something, pointers to what they may point to.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(12345)
	case reflect.Uint64:
		v.SetUint(12345)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), text)
		fill(v.Index(1), text)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, field := range []string{"name", "email", "password", "new", "current", "again", "permissions", "disabled", "note", "names", "scope", "capabilities",
			"from", "to", "session_timeout_seconds", "maximum_session_duration_seconds"} {
			v.SetMapIndex(reflect.ValueOf(field), reflect.ValueOf(text))
		}
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[when]():
			v.Set(reflect.ValueOf(when{time.Unix(1, 0), time.Unix(500, 0)}))
			return
		case reflect.TypeFor[time.Time]():
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() || v.Type().Field(i).Anonymous {
				// The frame is embedded under a name that is not exported: reflection
				// reads it, and sets what is exported within.
				fill(f, text)
			}
		}
	}
}

// full returns a copy of a view with everything in it.
func full(view any, text string) any {
	v := reflect.New(reflect.TypeOf(view))
	fill(v.Elem(), text)
	return v.Elem().Interface()
}

func parsed(t *testing.T) pages {
	t.Helper()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePages(a)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryPageHasAView(t *testing.T) {
	have, want := slices.Sorted(maps.Keys(parsed(t))), slices.Sorted(maps.Keys(views()))
	if !slices.Equal(have, want) {
		t.Errorf("pages %v, views %v", have, want)
	}
}

// Every page, with nothing in it and with everything, whatever that is: markup
// stays what the templates made it.
func TestRender(t *testing.T) {
	all := parsed(t)
	inline := regexp.MustCompile(`(?i)<[^>]* (style|on[a-z]+)=`)
	quoted := regexp.MustCompile(`"[^"]*"`)
	scripts := regexp.MustCompile(`(?i)<script[^>]*>`)
	address := regexp.MustCompile(`(?i)(?:href|action|src)="([^"]*)"`)
	for name, view := range views() {
		render := func(view any) string {
			t.Helper()
			var b bytes.Buffer
			if err := all[name].ExecuteTemplate(&b, "layout", view); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return b.String()
		}
		empty := render(view)
		plain := render(full(view, "plain"))
		shape := tagNames(plain)
		for _, page := range []string{empty, plain} {
			if !strings.HasPrefix(page, "<!doctype html>") || !strings.Contains(page, "</html>") || strings.Contains(page, "<no value>") || strings.Contains(page, "ZgotmplZ") {
				t.Errorf("%s: %s", name, clip(page, 300))
			}
			if err := balanced(page); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, text := range hostile {
			page := render(full(view, text))
			if got := tagNames(page); !slices.Equal(got, shape) && !slices.Equal(without(got, "bdi"), without(shape, "bdi")) {
				t.Errorf("%s: %.40q has changed the markup", name, text)
			}
			if m := inline.FindString(quoted.ReplaceAllString(page, `""`)); m != "" {
				t.Errorf("%s, %.40q: inline %s", name, text, m)
			}
			if n := len(scripts.FindAllString(page, -1)); n != 1 {
				t.Errorf("%s, %.40q: %d scripts", name, text, n)
			}
			for _, m := range address.FindAllStringSubmatch(page, -1) {
				if strings.HasPrefix(strings.ToLower(m[1]), "javascript:") {
					t.Errorf("%s, %.40q: leads to %s", name, text, m[0])
				}
			}
		}
	}
}

var tag = regexp.MustCompile(`(?s)<(/?[a-zA-Z][a-zA-Z0-9]*)`)

func tagNames(page string) []string {
	var names []string
	for _, m := range tag.FindAllStringSubmatch(page, -1) {
		names = append(names, m[1])
	}
	return names
}

func without(names []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name || n == "/"+name })
}

// balanced checks that every element that must be closed is, in order.
func balanced(page string) error {
	var open []string
	for _, m := range regexp.MustCompile(`(?s)<(/?)([a-zA-Z][a-zA-Z0-9]*)[^>]*?(/?)>`).FindAllStringSubmatch(page, -1) {
		name := strings.ToLower(m[2])
		switch {
		case slices.Contains([]string{"meta", "link", "input", "br"}, name) || m[3] == "/":
		case m[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			return fmt.Errorf("</%s> closes %v", name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%v are not closed", open)
	}
	return nil
}

// Every page is in order when its parts are there one by one: fields of a page
// depend on each other.
func TestRenderStates(t *testing.T) {
	all := parsed(t)
	w := when{time.Unix(1e9, 0), time.Unix(1e9+90, 0)}
	for name, list := range map[string][]any{
		"receipt": {
			receiptPage{Receipt: receiptView{Done: true, Validators: 1, Confirmed: 1}},
			receiptPage{Receipt: receiptView{Done: true, Validators: 7, Confirmed: 7}},
			receiptPage{Receipt: receiptView{Overdue: true, Validators: 7, Confirmed: 5}},
			receiptPage{Receipt: receiptView{Validators: 7, Confirmed: 5, Waiting: []string{"a", "b"}, EffectiveBy: w}, frame: frame{Renew: "/revocations/1?renewed=1"}},
			receiptPage{Receipt: receiptView{}},
		},
		"user": {
			userView{User: store.User{Disabled: true}, MayEdit: true},
			userView{Self: true, MayEdit: true, MayPermissions: true},
			userView{Last: &receiptView{Heading: "Last revocation"}},
		},
		"bulk": {
			bulkView{Scope: "users", Errors: map[string]string{"names": "x"}},
			bulkView{Scope: "users", Checked: true, Found: 3, Unknowns: 1, Unknown: []string{"x"}},
			bulkView{Scope: "users", Checked: true, Found: 3, Unknowns: 200, Unknown: []string{"x"}},
			bulkView{Scope: "everyone", Checked: true, Own: true},
			bulkView{Scope: "remembered", Checked: true},
		},
		"message": {messageView{Held: &held{}}, messageView{Links: []link{{"/", "x", true}}}},
		"profile": {profileView{Session: ownSession{RememberMe: true}}},
	} {
		for i, view := range list {
			var b bytes.Buffer
			if err := all[name].ExecuteTemplate(&b, "layout", view); err != nil {
				t.Errorf("%s %d: %v", name, i, err)
			} else if err := balanced(b.String()); err != nil {
				t.Errorf("%s %d: %v", name, i, err)
			}
		}
	}
}

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
	if got := harmless("a=b"); got != "a=b" {
		t.Errorf("harmless(a=b) = %q", got)
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
	now := time.Unix(1e9, 0)
	for d, want := range map[time.Duration]string{
		0: "just now", 9 * time.Second: "just now", 10 * time.Second: "10 seconds ago", time.Minute: "1 minute ago", 3 * time.Minute: "3 minutes ago",
		59*time.Minute + 59*time.Second: "59 minutes ago", time.Hour: "1 hour ago", 47 * time.Hour: "47 hours ago", 48 * time.Hour: "2 days ago", 400 * 24 * time.Hour: "400 days ago",
		-5 * time.Second: "just now", -6 * time.Second: "in 6 seconds", -2 * time.Hour: "in 2 hours",
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
		if r != token.ErrUnavailable && whyEnded(string(r), time.Minute, time.Hour) == "" {
			t.Errorf("nothing is said to people about %s", r)
		}
		if refusal(r) == "" {
			t.Errorf("nothing is said to administrators about %s", r)
		}
	}
	if got := clip("aé\u2028zz", 2); got != "aé…" {
		t.Errorf("clip: %q", got)
	}
}

func TestDevice(t *testing.T) {
	for agent, want := range map[string]string{
		"": "Unknown device",
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0":                                                                     "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0":              "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15":                      "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1":     "Chrome on iPhone",
		"Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"curl/8.5.0":  "curl",
		"(FreeBSD)":   "A program on FreeBSD",
		"my own tool": "my own tool",
	} {
		if got := device(agent); got != want {
			t.Errorf("device(%q) = %q, want %q", agent, got, want)
		}
	}
}

func TestPlot(t *testing.T) {
	in := span{name: "the last hour", each: "minute", since: "an hour ago"}
	p := happened("Sign-ins", in, []int64{0, 1, 1000, 500})
	if p.Figure != 1501 || p.Width != 24 || len(p.Bars) != 3 || p.Words != "Sign-ins in the last hour: 1501 in all, at most 1000 in one minute." {
		t.Errorf("%+v", p)
	}
	if s := stood("Live sessions", in, []int64{3, 7, 5}); s.Figure != 5 || s.Words != "Live sessions in the last hour: 5 now, at most 7." {
		t.Errorf("%+v", s)
	}
	if s := stood("Live sessions", in, nil); s.Figure != 0 || len(s.Bars) != 0 {
		t.Errorf("%+v", s)
	}
	for i, want := range []bar{{6, 62, 5, 2, 1}, {12, 0, 5, 64, 1000}, {18, 32, 5, 32, 500}} {
		if p.Bars[i] != want {
			t.Errorf("bar %d: %+v, want %+v", i, p.Bars[i], want)
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
