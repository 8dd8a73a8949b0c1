package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
)

// deepest is how deeply the JSON of a body may be nested.
const deepest = 32

// decode reads the body of r into v, which points to a struct. The body must be one
// JSON object with no other members than the struct's. encoding/json alone would
// fold the case of names, take the last of two members with one name, replace
// invalid UTF-8 by U+FFFD, and stop reading where the object ends.
//
// An empty body stands for {} where optional.
func decode(r *http.Request, v any, optional bool) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if len(body) == 0 && optional {
		return nil
	}
	if kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" ||
		parameters["charset"] != "" && !strings.EqualFold(parameters["charset"], "utf-8") {
		return fmt.Errorf("%w: send JSON, with Content-Type: application/json", fault.ErrMediaType)
	}
	if err := checkJSON(body, reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return account.InvalidField(wrong.Field, "must be %s, but is %s", describeType(wrong.Type), article(wrong.Value))
		}
		return fmt.Errorf("%w: the body is not the expected JSON object", fault.ErrInvalid)
	}
	return nil
}

// readBody reads all of a body whose size is limited already.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, bodyError(err)
	}
	return body, nil
}

func bodyError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: at most %d bytes are allowed", fault.ErrTooLarge, tooLarge.Limit)
	}
	return fmt.Errorf("%w: the body could not be read completely", fault.ErrInvalid)
}

// checkJSON returns an error unless data is exactly one JSON object whose members
// are, name for name, those of the struct type t. null is for members that can
// hold it, half a surrogate pair for none.
func checkJSON(data []byte, t reflect.Type) error {
	switch {
	case !utf8.Valid(data):
		return fmt.Errorf("%w: the body is not valid UTF-8", fault.ErrInvalid)
	case !json.Valid(data):
		return fmt.Errorf("%w: the body is not valid JSON", fault.ErrInvalid)
	case bytes.TrimLeft(data, " \t\r\n")[0] != '{':
		return fmt.Errorf("%w: the body is not a JSON object", fault.ErrInvalid)
	case halfSurrogate(data):
		return fmt.Errorf("%w: the body contains half of a surrogate pair", fault.ErrInvalid)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return walk(d, t, "", 1)
}

// walk reads one value and compares it with its type; t is nil where anything
// may stand. The JSON is known to be valid.
func walk(d *json.Decoder, t reflect.Type, path string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("%w: the body is nested more than %d levels deep", fault.ErrInvalid, deepest)
	}
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("%w: the body is not valid JSON", fault.ErrInvalid)
	}
	switch token {
	case json.Delim('{'):
		return walkObject(d, t, path, depth)
	case json.Delim('['):
		for d.More() {
			if err := walk(d, element(t), path, depth+1); err != nil {
				return err
			}
		}
		_, _ = d.Token() // the end of it
	case nil:
		if t != nil && t != rawMessage && t.Kind() != reflect.Pointer {
			return account.InvalidField(path, "must be %s, but is null", describeType(t))
		}
	}
	// PostgreSQL's TEXT cannot hold it. Passwords are hashed and not kept.
	if text, ok := token.(string); ok && strings.Contains(text, "\x00") && !isPassword[path] {
		return account.InvalidField(path, "contains a NUL character")
	}
	return nil
}

var isPassword = map[string]bool{"password": true, "current": true, "new": true}

func walkObject(d *json.Decoder, t reflect.Type, path string, depth int) error {
	members := membersOf(t)
	seen := map[string]bool{}
	for d.More() {
		token, _ := d.Token()
		name, _ := token.(string)
		here := name
		if path != "" {
			here = path + "." + name
		}
		if seen[name] {
			return account.InvalidField(cutName(here), "is given twice")
		}
		seen[name] = true
		var of reflect.Type
		if members != nil {
			var known bool
			if of, known = members[name]; !known {
				return account.InvalidField(cutName(here), "is not a known member")
			}
		}
		if err := walk(d, of, here, depth+1); err != nil {
			return err
		}
	}
	_, _ = d.Token() // the end of it
	return nil
}

// cutName keeps an answer short whose subject is a name that the caller made up.
func cutName(name string) string {
	if len(name) <= 64 {
		return name
	}
	return strings.ToValidUTF8(name[:64], "") + "…"
}

var rawMessage = reflect.TypeFor[json.RawMessage]()

// membersOf returns the JSON members of a struct; nil for other types, in which
// any name may stand.
func membersOf(t reflect.Type) map[string]reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	members := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		members[name] = f.Type
	}
	return members
}

func element(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t == rawMessage || t.Kind() != reflect.Slice {
		return nil
	}
	return t.Elem()
}

// describeType names a type as JSON has it.
func describeType(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() { //nolint:exhaustive // of the kinds that package wire has
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Int64:
		return "a whole number without fraction or exponent"
	}
	return "an object"
}

// article names what encoding/json has found instead. A number comes with its
// digits, which are not repeated here.
func article(found string) string {
	kind, _, _ := strings.Cut(found, " ")
	switch kind {
	case "array", "object":
		return "an " + kind
	case "bool":
		return "a boolean"
	}
	return "a " + kind
}

// halfSurrogate reports whether valid JSON has an escape \uD800–\uDFFF that is
// not part of a pair. A backslash stands nowhere but in strings.
func halfSurrogate(data []byte) bool {
	for i := bytes.IndexByte(data, '\\'); i >= 0 && i < len(data); {
		if data[i] != '\\' {
			i++
			continue
		}
		if data[i+1] != 'u' {
			i += 2
			continue
		}
		high := surrogate(data[i+2:], 'D', "89abAB")
		low := surrogate(data[i+2:], 'D', "cdefCDEF")
		switch {
		case low:
			return true
		case high:
			rest := data[i+6:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' || !surrogate(rest[2:], 'D', "cdefCDEF") {
				return true
			}
			i += 12
		default:
			i += 6
		}
	}
	return false
}

// surrogate reports whether four hexadecimal digits begin with first, in any
// case, and one of second.
func surrogate(digits []byte, first byte, second string) bool {
	return digits[0]&^0x20 == first && strings.IndexByte(second, digits[1]) >= 0
}
