package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/strictjson"
	"example.com/curfew/internal/wire"
)

func jsonRequest(body string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func TestDecode(t *testing.T) {
	const invalid = "\xff"
	for _, tt := range []struct {
		name  string
		body  string
		field string // that the error is about; "" for none in particular
	}{
		{"empty", ``, ""},
		{"a space", ` `, ""},
		{"null", `null`, ""},
		{"an array", `[]`, ""},
		{"a string", `"x"`, ""},
		{"a number", `1`, ""},
		{"not closed", `{"username":"a"`, ""},
		{"trailing data", `{"username":"a"} {}`, ""},
		{"a trailing brace", `{"username":"a"}}`, ""},
		{"a trailing comma", `{"username":"a",}`, ""},
		{"a comment", `{"username":"a"/**/}`, ""},
		{"single quotes", `{'username':'a'}`, ""},
		{"NaN", `{"remember_me":NaN}`, ""},
		{"a byte-order mark", "\xef\xbb\xbf{}", ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", ""},
		{"not UTF-8", `{"username":"` + invalid + `"}`, ""},
		{"not UTF-8 in a name", `{"` + invalid + `":"a"}`, ""},
		{"half a surrogate pair", `{"username":"\ud800"}`, ""},
		{"the other half", `{"username":"\udc00"}`, ""},
		{"two first halves", `{"username":"\ud800\ud800"}`, ""},
		{"halves in the wrong order", `{"username":"\udc00\ud800"}`, ""},
		{"a control character", "{\"username\":\"a\nb\"}", ""},
		{"NUL", `{"username":"a\u0000b"}`, "username"},
		{"an unknown member", `{"username":"a","user":"b"}`, "user"},
		{"a name in capitals", `{"Username":"a"}`, "Username"},
		{"a name that folds", `{"uſername":"a"}`, "uſername"},
		{"a name with a space", `{"username ":"a"}`, "username "},
		{"an empty name", `{"":"a"}`, ""},
		{"twice", `{"username":"a","username":"a"}`, "username"},
		{"twice, once escaped", `{"username":"a","user\u006eame":"b"}`, "username"},
		{"a number for a string", `{"username":1}`, "username"},
		{"an array for a string", `{"username":["a"]}`, "username"},
		{"null for a string", `{"username":null}`, "username"},
		{"null for a boolean", `{"remember_me":null}`, "remember_me"},
		{"a string for a boolean", `{"remember_me":"true"}`, "remember_me"},
		{"a number for a boolean", `{"remember_me":1}`, "remember_me"},
		{"a name that goes on", `{"` + strings.Repeat("é", 1000) + `":1}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v wire.SignIn
			err := decode(jsonRequest(tt.body), &v, false)
			if err == nil {
				t.Fatalf("accepted as %+v", v)
			}
			f := fault.Of(err)
			if f.Status != 400 || f.Code != wire.CodeInvalidRequest {
				t.Errorf("%d %s: %v", f.Status, f.Code, err)
			}
			var wrong *account.Invalid
			if tt.field != "" && (!errors.As(err, &wrong) || wrong.Fields[0].Field != tt.field) {
				t.Errorf("%v, want one about %q", err, tt.field)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error goes on and on: %v", err)
			}
		})
	}
}

func TestDecodeAccepts(t *testing.T) {
	for _, tt := range []struct {
		body string
		want wire.SignIn
	}{
		{`{}`, wire.SignIn{}},
		{" \t\r\n{ } \n", wire.SignIn{}},
		{`{"username":"a","password":"b","remember_me":true}`, wire.SignIn{Username: "a", Password: "b", RememberMe: true}},
		{`{"user\u006eame":"\u00e9\ud83d\ude00\\\"\/"}`, wire.SignIn{Username: "é😀\\\"/"}},
		{`{"password":"any\u0000byte of text"}`, wire.SignIn{Password: "any\x00byte of text"}},
		{`{"username":"` + "\u2028\ufffd" + `"}`, wire.SignIn{Username: "\u2028\ufffd"}},
	} {
		var v wire.SignIn
		if err := decode(jsonRequest(tt.body), &v, false); err != nil || v != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.body, v, err, tt.want)
		}
	}
	var none wire.Issue
	if err := decode(httptest.NewRequest("POST", "/", nil), &none, true); err != nil {
		t.Errorf("nothing, where that will do: %v", err)
	}
}

// A null member is told apart from a missing one.
func TestDecodeNull(t *testing.T) {
	var v wire.UserChange
	if err := decode(jsonRequest(`{"email":null}`), &v, false); err != nil || string(v.Email) != "null" {
		t.Errorf("email %q, %v", v.Email, err)
	}
	v = wire.UserChange{}
	if err := decode(jsonRequest(`{"disabled":true}`), &v, false); err != nil || v.Email != nil || v.Disabled == nil {
		t.Errorf("%+v, %v", v, err)
	}
	if err := decode(jsonRequest(`{"email":{"a":1,"a":2}}`), &v, false); err == nil {
		t.Error("a member is there twice, deep down")
	}
}

func TestDecodeDepth(t *testing.T) {
	for n, good := range map[int]bool{1: true, strictjson.MaxDepth - 2: true, strictjson.MaxDepth - 1: true, strictjson.MaxDepth: false, 20_000: false} {
		var v wire.UserChange
		err := decode(jsonRequest(`{"email":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}`), &v, false)
		if (err == nil) != good || !good && !errors.Is(err, fault.ErrInvalid) {
			t.Errorf("%d deep: %v", n, err)
		}
	}
}

func TestDecodeNumbers(t *testing.T) {
	for _, n := range []string{"1.0", "1e3", "1E3", "1.5", "-", "01", "9223372036854775808", "1e400", "-1e400", `"60"`, "0x10", "+1"} {
		var v wire.Settings
		if err := decode(jsonRequest(`{"session_timeout_seconds":`+n+`}`), &v, false); err == nil {
			t.Errorf("%s is accepted as %d", n, *v.SessionTimeoutSeconds)
		} else if strings.Contains(err.Error(), "9223372036854775808") {
			t.Errorf("%s: the error repeats it: %v", n, err)
		}
	}
	for n, want := range map[string]int64{"0": 0, "-1": -1, "9223372036854775807": 9223372036854775807, "60": 60} {
		var v wire.Settings
		if err := decode(jsonRequest(`{"session_timeout_seconds":`+n+`}`), &v, false); err != nil || *v.SessionTimeoutSeconds != want {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestDecodeMediaType(t *testing.T) {
	for kind, good := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, "Application/JSON;charset=UTF-8": true,
		"": false, "text/plain": false, "application/x-www-form-urlencoded": false, "application/json; charset=latin1": false,
		"application/jsonp": false, "application/json, text/plain": false, "multipart/form-data": false, "/": false,
	} {
		r := jsonRequest(`{}`)
		r.Header.Set("Content-Type", kind)
		err := decode(r, &wire.SignIn{}, false)
		if good != (err == nil) || !good && !errors.Is(err, fault.ErrMediaType) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

// Whatever is accepted says what encoding/json alone reads from it, name for name.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"reason":"a","keep_current":true}`, `{"Reason":"a"}`, `{"reason":"a","reason":"b"}`,
		`{"reason":"\ud83d\ude00"}`, `{"reason":"\ud83d"}`, `{"reason":null}`, `{"keep_current":1}`, `{"reason":"a"}x`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var v wire.RevokeUser
		if decode(jsonRequest(body), &v, false) != nil {
			return
		}
		var members map[string]any
		if err := json.Unmarshal([]byte(body), &members); err != nil {
			t.Fatalf("accepted, but not JSON: %q", body)
		}
		want := wire.RevokeUser{}
		for name, value := range members {
			switch name {
			case "reason":
				text, ok := value.(string)
				if want.Reason = text; !ok {
					t.Fatalf("%q was accepted as a string", body)
				}
			case "keep_current":
				keep, ok := value.(bool)
				if want.KeepCurrent = keep; !ok {
					t.Fatalf("%q was accepted as a boolean", body)
				}
			default:
				t.Fatalf("%q was accepted", name)
			}
		}
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("%q is %+v, want %+v", body, v, want)
		}
	})
}
