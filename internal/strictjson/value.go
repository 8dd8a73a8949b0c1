package strictjson

import (
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one valid value of a document.
type Value struct {
	raw     []byte
	escaped bool // the string contains a backslash
}

// bytes returns the unescaped content of a string. v must be a string.
func (v Value) bytes() []byte {
	in := v.raw[1 : len(v.raw)-1]
	if !v.escaped {
		return in
	}
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); {
		if in[i] != '\\' {
			out = append(out, in[i])
			i++
			continue
		}
		if in[i+1] != 'u' {
			out = append(out, unescaped[in[i+1]])
			i += 2
			continue
		}
		u, _ := hex4(in[i:])
		i += 6
		if utf16.IsSurrogate(u) {
			low, _ := hex4(in[i:])
			u = utf16.DecodeRune(u, low)
			i += 6
		}
		out = utf8.AppendRune(out, u)
	}
	return out
}

var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// A Kind is the type of a value.
type Kind byte

// The kinds of values.
const (
	Null    Kind = 'n'
	Boolean Kind = 't'
	Number  Kind = '0'
	String  Kind = '"'
	Array   Kind = '['
	Object  Kind = '{'
)

// Kind returns the type of the value.
func (v Value) Kind() Kind {
	switch c := v.raw[0]; c {
	case 'n', '"', '[', '{':
		return Kind(c)
	case 't', 'f':
		return Boolean
	}
	return Number
}

// Raw returns the text of the value. Do not modify it.
func (v Value) Raw() []byte { return v.raw }

// Text returns the content of a string, unescaped. The second result is false for
// another type.
func (v Value) Text() (string, bool) {
	if v.raw[0] != '"' {
		return "", false
	}
	return string(v.bytes()), true
}

// Integer returns a number in plain integer form that fits an int64. The second
// result is false for fractions, exponents, numbers that are too large, and other
// types. ParseInt alone would accept a plus sign and leading zeros, but those are
// not JSON, so the reader has refused them.
func (v Value) Integer() (int64, bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Boolean returns a boolean; ok is false for another type.
func (v Value) Boolean() (value, ok bool) {
	switch v.raw[0] {
	case 't':
		return true, true
	case 'f':
		return false, true
	}
	return false, false
}

// Elements calls element for each element of an array. It returns the first error of
// element, and nil without a call for another type.
func (v Value) Elements(element func(Value) error) error {
	if v.raw[0] != '[' {
		return nil
	}
	r := reader{data: v.raw, pos: 1}
	for r.space(); r.peek() != ']'; r.space() {
		r.take(',')
		e, err := r.value(0)
		if err != nil {
			return err
		}
		if err := element(e); err != nil {
			return err
		}
	}
	return nil
}

// Members calls member for each member of an object. It returns the first error of
// member, and nil without a call for another type.
func (v Value) Members(member func(name []byte, v Value) error) error {
	if v.raw[0] != '{' {
		return nil
	}
	r := reader{data: v.raw}
	return r.object(1, member)
}

// Texts returns the strings of an array, not nil. The second result is false for
// another type and for an array with another element.
func (v Value) Texts() ([]string, bool) {
	if v.raw[0] != '[' {
		return nil, false
	}
	out := []string{}
	err := v.Elements(func(e Value) error {
		s, ok := e.Text()
		if !ok {
			return errNotText
		}
		out = append(out, s)
		return nil
	})
	return out, err == nil
}

var errNotText = errors.New("not a string")
