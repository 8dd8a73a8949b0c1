package strictjson_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/curfew/internal/strictjson"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// read returns the object in data as encoding/json would with UseNumber.
func read(data []byte, o strictjson.Options) (map[string]any, error) {
	out := map[string]any{}
	err := o.Object(data, func(name []byte, v strictjson.Value) (err error) {
		out[string(name)], err = value(v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func value(v strictjson.Value) (any, error) {
	switch v.Kind() {
	case strictjson.Null:
		return nil, nil
	case strictjson.Boolean:
		b, _ := v.Boolean()
		return b, nil
	case strictjson.String:
		s, _ := v.Text()
		return s, nil
	case strictjson.Number:
		return json.Number(v.Raw()), nil
	case strictjson.Array:
		out := []any{}
		err := v.Elements(func(e strictjson.Value) error {
			x, err := value(e)
			out = append(out, x)
			return err
		})
		return out, err
	case strictjson.Object:
		out := map[string]any{}
		err := v.Members(func(name []byte, v strictjson.Value) (err error) {
			out[string(name)], err = value(v)
			return err
		})
		return out, err
	}
	return nil, fmt.Errorf("a value of kind %q", v.Kind())
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func members(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(`"m%d":%d`, i, i)
	}
	return strings.Join(out, ",")
}

func TestObject(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       error
	}{
		{"empty object", `{}`, nil},
		{"space", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : { } } \n", nil},
		{"every type", `{"a":null,"b":true,"c":false,"d":-0.5e+10,"e":"x","f":[],"g":{}}`, nil},
		{"every escape", `{"a":"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\u0000\uffff"}`, nil},
		{"names that differ in case", `{"a":1,"A":2}`, nil},
		{"one name on two levels", `{"a":{"a":{"a":1}}}`, nil},
		{"numbers of any size", `{"a":[0,-0,1e400,123456789012345678901234567890]}`, nil},
		{"31 levels", `{"a":` + nested(31) + `}`, nil},
		{"32 levels", `{"a":` + nested(32) + `}`, strictjson.ErrTooDeep},
		{"a value within 32 levels", `{"a":` + strings.Repeat("[", 31) + "1" + strings.Repeat("]", 31) + `}`, nil},
		{"a million levels", `{"a":` + strings.Repeat("[", 1_000_000), strictjson.ErrTooDeep},
		{"19 members", `{` + members(19) + `}`, nil},
		{"20 members", `{` + members(20) + `}`, nil},
		{"21 members", `{` + members(21) + `}`, strictjson.ErrTooMany},
		{"21 members, further down", `{"a":[{` + members(21) + `}]}`, strictjson.ErrTooMany},
		{"nothing", ``, strictjson.ErrSyntax},
		{"null", `null`, strictjson.ErrNotObject},
		{"an array", `[{}]`, strictjson.ErrNotObject},
		{"half an array", `[{}`, strictjson.ErrSyntax},
		{"not closed", `{"a":1`, strictjson.ErrSyntax},
		{"two objects", `{}{}`, strictjson.ErrSyntax},
		{"trailing NUL", "{}\x00", strictjson.ErrSyntax},
		{"byte order mark", "\ufeff{}", strictjson.ErrSyntax},
		{"leading zero", `{"a":01}`, strictjson.ErrSyntax},
		{"plus", `{"a":+1}`, strictjson.ErrSyntax},
		{"no digit behind the point", `{"a":1.}`, strictjson.ErrSyntax},
		{"control character", "{\"a\":\"\x1f\"}", strictjson.ErrSyntax},
		{"unknown escape", `{"a":"\x"}`, strictjson.ErrSyntax},
		{"one name twice", `{"a":1,"a":1}`, strictjson.ErrDuplicate},
		{"one name twice, escaped", `{"a":1,"\u0061":1}`, strictjson.ErrDuplicate},
		{"one name twice, beyond the first sixteen", `{` + members(19) + `,"m18":1}`, strictjson.ErrDuplicate},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", strictjson.ErrUTF8},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", strictjson.ErrUTF8},
		{"half a pair", `{"a":"\ud800"}`, strictjson.ErrSurrogate},
		{"half a pair in a name", `{"\udc00":1}`, strictjson.ErrSurrogate},
		{"two first halves", `{"a":"\ud800\ud800"}`, strictjson.ErrSurrogate},
	} {
		o := strictjson.Options{MaxMembers: 20}
		if got, err := read([]byte(test.data), o); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v, %v; want %v", test.name, got, err, test.want)
		}
	}
	if !errors.Is(strictjson.ErrSurrogate, strictjson.ErrUTF8) || errors.Is(strictjson.ErrUTF8, strictjson.ErrSurrogate) {
		t.Error("half a surrogate pair is a kind of invalid UTF-8, not the reverse")
	}
	if _, err := read([]byte(`{`+members(100_000)+`}`), strictjson.Options{}); err != nil {
		t.Errorf("without a limit: %v", err)
	}
}

// The path of a duplicate helps its sender. The error's text, which may end up in a
// log, does not have it.
func TestDuplicatePath(t *testing.T) {
	for data, want := range map[string]string{
		`{"a":1,"a":1}`:                   "a",
		`{"a":{"b":{"c":1,"c":2}}}`:       "a.b.c",
		`{"a":[0,[{"b":1},{"b":1,"b":1`:   "a.b",
		`{"x":1,"a":{"":1,"\u0000":2,"":`: "a.",
	} {
		err := strictjson.Options{}.Object([]byte(data), nil)
		twice, ok := errors.AsType[*strictjson.DuplicateError](err)
		if !ok || twice.Path != want || err.Error() != strictjson.ErrDuplicate.Error() {
			t.Errorf("%s: %v with path %+v, want %q", data, err, twice, want)
		}
	}
}

// A function that is called for the members may end the reading.
func TestErrorOfTheFunction(t *testing.T) {
	mine := errors.New("mine")
	calls := 0
	err := strictjson.Options{}.Object([]byte(`{"a":1,"b":2}`), func([]byte, strictjson.Value) error { calls++; return mine })
	if err != mine || calls != 1 {
		t.Errorf("%v after %d calls, want %v after one", err, calls, mine)
	}
}

func TestValues(t *testing.T) {
	var got []string
	err := strictjson.Options{}.Object([]byte(`{"a":9223372036854775807,"b":9223372036854775808,"c":1.0,"d":"1","e":["x","\u0079"],"f":["x",1],"g":[],"h":true}`),
		func(name []byte, v strictjson.Value) error {
			text, isText := v.Text()
			n, isInteger := v.Integer()
			b, isBoolean := v.Boolean()
			texts, areTexts := v.Texts()
			if !areTexts {
				texts = nil
			}
			got = append(got, fmt.Sprintf("%s: text %q %v, integer %d %v, boolean %v/%v, texts %q %v", name, text, isText, n, isInteger, b, isBoolean, texts, areTexts))
			return nil
		})
	want := []string{
		`a: text "" false, integer 9223372036854775807 true, boolean false/false, texts [] false`,
		`b: text "" false, integer 9223372036854775807 false, boolean false/false, texts [] false`,
		`c: text "" false, integer 0 false, boolean false/false, texts [] false`,
		`d: text "1" true, integer 0 false, boolean false/false, texts [] false`,
		`e: text "" false, integer 0 false, boolean false/false, texts ["x" "y"] true`,
		`f: text "" false, integer 0 false, boolean false/false, texts [] false`,
		`g: text "" false, integer 0 false, boolean false/false, texts [] true`,
		`h: text "" false, integer 0 false, boolean true/true, texts [] false`,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %q\nwant %q", err, got, want)
	}
}

// seeds are documents for a fuzzer to begin with: the header and the payload of each
// hostile token, and some of this file.
func seeds(f *testing.F) {
	added := map[string]bool{}
	for _, h := range hostile.Tokens(tokentest.New(f)) {
		for part := range strings.SplitSeq(h.Raw, ".") {
			if text, err := base64.RawURLEncoding.DecodeString(part); err == nil && len(text) < 1<<10 && !added[part] {
				added[part] = true
				f.Add(text)
			}
		}
	}
	for _, text := range []string{`{}`, `{"a":{"b":[1,{"c":"\ud83d\ude00"}]}}`, `{"a":"\ud800\u0041"}`, `{"a":1,"\u0061":1}`, `{` + members(300) + `}`, `{"a":` + nested(33) + `}`, "{\"\u2028\":-0.0e-1}"} {
		f.Add([]byte(text))
	}
}

// FuzzObject compares the reader with encoding/json and with the rules that
// encoding/json lacks, written down once more in another way.
func FuzzObject(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := read(data, strictjson.Options{})
		want, wantErr := oracle(data)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v, %v", data, got, err, want, wantErr)
		}
		if err != nil && len(data) > 60 && strings.Contains(err.Error(), string(data)) {
			t.Errorf("the error quotes the document: %v", err)
		}
	})
}

func oracle(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) || !json.Valid(data) || bytes.TrimLeft(data, " \t\r\n")[0] != '{' || halfSurrogate.Match(pairs.ReplaceAll(escapes.ReplaceAllFunc(data, joined), nil)) {
		return nil, errors.New("encoding/json, UTF-8 or surrogates")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := walk(d, 0); err != nil {
		return nil, err
	}
	d = json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var out map[string]any
	return out, d.Decode(&out)
}

// In valid JSON a backslash is only in strings, and begins an escape unless another
// one precedes it. joined leaves only the escapes of four digits.
var (
	escapes       = regexp.MustCompile(`(?s)\\u[0-9a-fA-F]{4}|\\.`)
	pairs         = regexp.MustCompile(`(?i)<D[89AB][0-9A-F]{2}><D[C-F][0-9A-F]{2}>`)
	halfSurrogate = regexp.MustCompile(`(?i)<D[89A-F][0-9A-F]{2}>`)
)

func joined(escape []byte) []byte {
	if escape[1] != 'u' {
		return []byte("|")
	}
	return []byte("<" + string(escape[2:]) + ">")
}

// walk refuses duplicate names and more than 32 levels.
func walk(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, opens := token.(json.Delim)
	if !opens {
		return nil
	}
	if depth++; depth > 32 {
		return errors.New("too deep")
	}
	names := map[any]bool{}
	for d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil || names[name] {
				return errors.New("a name twice")
			}
			names[name] = true
		}
		if err := walk(d, depth); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
