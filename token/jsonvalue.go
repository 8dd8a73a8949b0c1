package token

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonValue is one value of a document: its first byte tells its type ('"', '{',
// '[', 't', 'f', 'n', '-' or a digit).
type jsonValue struct {
	raw     []byte
	escaped bool // a string with a backslash in it
}

// bytes returns the content of a string, unescaped. Only for strings.
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

// text returns the content of a string; false for another type.
func (v jsonValue) text() (string, bool) {
	if v.raw[0] != '"' {
		return "", false
	}
	return string(v.bytes()), true
}

// integer returns a number in plain integer form that fits an int64; false for
// fractions, exponents, numbers too large, and other types. Nothing else is left
// to ParseInt: JSON has no plus sign and no leading zeros.
func (v jsonValue) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// boolean returns true or false; the second result is false for another type.
func (v jsonValue) boolean() (value, ok bool) {
	switch v.raw[0] {
	case 't':
		return true, true
	case 'f':
		return false, true
	}
	return false, false
}

// texts returns the strings of an array, or the one string; false for another
// type and for an array that holds anything else.
func (v jsonValue) texts() ([]string, bool) {
	if s, ok := v.text(); ok {
		return []string{s}, true
	}
	if v.raw[0] != '[' {
		return nil, false
	}
	var out []string
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
