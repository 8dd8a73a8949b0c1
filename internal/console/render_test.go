package console

import (
	"bytes"
	"fmt"
	"html/template"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/store"
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
	strings.Repeat("Zalgo\u0336 ", 100),
}

// views are the view of each page, empty.
func views() map[string]any {
	return map[string]any{
		"sign-in": signInView{}, "message": messageView{}, "confirm": confirmView{}, "profile": profileView{}, "session": sessionPage{}, "signed-out": signedOutView{},
		"settings": settingsView{}, "provider": providerView{}, "settings-preview": settingsView{Preview: &settingsPreview{}},
		"users": usersView{}, "new-user": newUserView{}, "password": passwordView{}, "user": userView{}, "bulk": bulkView{}, "receipt": receiptPage{}, "receipts": receiptsView{},
		"audit": auditView{}, "keys": keysView{}, "services": servicesView{}, "secret": secretView{}, "overview": overviewView{}, "docs": docView{}, "reauthenticate": reauthenticateView{},
	}
}

// fill sets everything within v: texts to text, lists to two elements, numbers
// and instants to something, pointers to what they may point to.
func fill(v reflect.Value, text string) {
	if v.Type() == reflect.TypeFor[template.HTML]() {
		v.SetString("<p>of ours</p>")
		return
	}
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
		for _, field := range []string{"name", "email", "password", "new", "current", "again", "permissions", "groups", "disabled", "reason", "note", "names", "scope", "capabilities",
			"issuer", "client_id", "client_secret", "scopes", "name_claim", "groups_claim", "group_permissions", "allowed_email_domains", "allowed_groups", "acr_values",
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
				// The frame is embedded under a name that is not exported:
				// reflection reads it, and sets its exported fields.
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
	p, err := parsePages()
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
	t.Parallel()
	all := parsed(t)
	inline := regexp.MustCompile(`\s(style|on[a-z]+)=`)
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
			scripts := 0
			for _, tag := range tagsOf(page) {
				tag = strings.ToLower(tag)
				if strings.HasPrefix(tag, "<script") {
					scripts++
				}
				if slices.ContainsFunc([]string{"href", "action", "src"}, func(name string) bool { return strings.Contains(tag, name+`="javascript:`) }) {
					t.Errorf("%s, %.40q: leads to %s", name, text, tag)
				}
				if unquoted := outsideQuotes(tag); strings.Contains(unquoted, "style") || strings.Contains(unquoted, "on") {
					if m := inline.FindString(unquoted); m != "" {
						t.Errorf("%s, %.40q: inline %s", name, text, m)
					}
				}
			}
			if scripts != 1 {
				t.Errorf("%s, %.40q: %d scripts", name, text, scripts)
			}
		}
	}
}

// tagsOf returns the tags of a page, from < to >. A > in double quotes does not end a
// tag. Regular expressions over whole pages took a third of this package's time.
func tagsOf(page string) []string {
	var all []string
	for at := strings.IndexByte(page, '<'); at >= 0; {
		quoted, end := false, at+1
		for ; end < len(page) && (quoted || page[end] != '>'); end++ {
			quoted = quoted != (page[end] == '"')
		}
		if rest := strings.TrimPrefix(page[at+1:end], "/"); rest != "" && isLetter(rest[0]) {
			all = append(all, page[at:end])
		} else {
			end = at + 1 // text or a comment
		}
		next := strings.IndexByte(page[end:], '<')
		if next < 0 {
			break
		}
		at = end + next
	}
	return all
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// outsideQuotes returns a tag without its values in double quotes.
func outsideQuotes(tag string) string {
	parts := strings.Split(tag, `"`)
	for i := 1; i < len(parts); i += 2 {
		parts[i] = ""
	}
	return strings.Join(parts, `"`)
}

func tagNames(page string) []string {
	var names []string
	for _, tag := range tagsOf(page) {
		name := tag[1:]
		if end := strings.IndexFunc(strings.TrimPrefix(name, "/"), func(r rune) bool { return r > 'z' || !isLetter(byte(r)) && (r < '0' || r > '9') }); end >= 0 {
			name = name[:end+len(name)-len(strings.TrimPrefix(name, "/"))]
		}
		names = append(names, name)
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
			bulkView{Scope: "users", frame: frame{Errors: map[string]string{"names": "x"}}},
			bulkView{Scope: "users", Checked: true, Found: 3, Unknowns: 1, Unknown: []string{"x"}},
			bulkView{Scope: "users", Checked: true, Found: 3, Unknowns: 200, Unknown: []string{"x"}},
			bulkView{Scope: "everyone", Checked: true, Own: true},
			bulkView{Scope: "remembered", Checked: true},
		},
		"message": {messageView{Held: &pendingForm{}}, messageView{Links: []link{{"/", "x", true}}}},
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
