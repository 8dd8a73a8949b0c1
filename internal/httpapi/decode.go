package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/strictjson"
)

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
// are, name for name, those of the struct type t. null is accepted for members that
// can hold it.
func checkJSON(data []byte, t reflect.Type) error {
	if err := (strictjson.Options{}).Object(data, nil); err != nil {
		return jsonError(err)
	}
	return strictjson.Options{}.Object(data, members(t, "")) // again, because syntax is reported first
}

// jsonError names the fault of a body that is no strict JSON object.
func jsonError(err error) error {
	if twice, ok := errors.AsType[*strictjson.DuplicateError](err); ok {
		return account.InvalidField(cutName(twice.Path), "is given twice")
	}
	problem := "is not valid JSON"
	switch {
	case errors.Is(err, strictjson.ErrSurrogate):
		problem = "contains half of a surrogate pair"
	case errors.Is(err, strictjson.ErrUTF8):
		problem = "is not valid UTF-8"
	case errors.Is(err, strictjson.ErrNotObject):
		problem = "is not a JSON object"
	case errors.Is(err, strictjson.ErrTooDeep):
		problem = fmt.Sprintf("is nested more than %d levels deep", strictjson.MaxDepth)
	}
	return fmt.Errorf("%w: the body %s", fault.ErrInvalid, problem)
}

// members returns a function that compares a member of an object with the members of
// the type t; t is nil where anything is accepted. path leads to the object.
func members(t reflect.Type, path string) func(name []byte, v strictjson.Value) error {
	known := membersOf(t)
	return func(name []byte, v strictjson.Value) error {
		here := string(name)
		if path != "" {
			here = path + "." + here
		}
		of, ok := known[string(name)]
		if known != nil && !ok {
			return account.InvalidField(cutName(here), "is not a known member")
		}
		return checkValue(v, of, here)
	}
}

func checkValue(v strictjson.Value, t reflect.Type, path string) error {
	switch v.Kind() { // encoding/json checks the other types
	case strictjson.Object:
		return v.Members(members(t, path))
	case strictjson.Array:
		return v.Elements(func(e strictjson.Value) error { return checkValue(e, element(t), path) })
	case strictjson.Null:
		if t != nil && t != rawMessage && t.Kind() != reflect.Pointer {
			return account.InvalidField(path, "must be %s, but is null", describeType(t))
		}
	case strictjson.String:
		// PostgreSQL's TEXT can't hold NUL. Passwords are hashed and not stored.
		if text, _ := v.Text(); strings.Contains(text, "\x00") && !isPassword[path] {
			return account.InvalidField(path, "contains a NUL character")
		}
	}
	return nil
}

var isPassword = map[string]bool{"password": true, "current": true, "new": true}

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
	switch t.Kind() {
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
