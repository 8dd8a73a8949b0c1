package token

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonValue is one value of a document. Its first byte gives its type ('"', '{',
// '[', 't', 'f', 'n', '-' or a digit).
type jsonValue struct {
	raw     []byte
	escaped bool // the string contains a backslash
}

// bytes returns the unescaped content of a string. v must be a string.
func (v jsonValue) bytes() []byte {
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

// text returns the content of a string. The second result is false for another
// type.
func (v jsonValue) text() (string, bool) {
	if v.raw[0] != '"' {
		return "", false
	}
	return string(v.bytes()), true
}

// integer returns a number in plain integer form that fits an int64. The second
// result is false for fractions, exponents, numbers that are too large, and other
// types. ParseInt alone would accept a plus sign and leading zeros, but those are
// not JSON, so the reader has refused them.
func (v jsonValue) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// boolean returns a boolean; ok is false for another type.
func (v jsonValue) boolean() (value, ok bool) {
	switch v.raw[0] {
	case 't':
		return true, true
	case 'f':
		return false, true
	}
	return false, false
}

// texts returns the strings of an array, or a single string as a slice. The second
// result is false for another type and for an array with another element.
func (v jsonValue) texts() ([]string, bool) {
	if s, ok := v.text(); ok {
		return []string{s}, true
	}
	return v.array()
}

// array returns the strings of an array, not nil. The second result is false for
// another type and for an array with another element.
func (v jsonValue) array() ([]string, bool) {
	if v.raw[0] != '[' {
		return nil, false
	}
	out := []string{}
	r := jsonReader{data: v.raw, pos: 1}
	for r.space(); r.peek() != ']'; r.space() {
		r.take(',')
		element, err := r.value(1)
		if err != nil {
			return nil, false
		}
		s, ok := element.text()
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}
