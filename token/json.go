package token

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// A strict reader of the JSON (RFC 8259) in a token. encoding/json is not strict
// enough: it takes the last of two members with the same name, folds letter case
// ("SUB", "ſid"), replaces invalid UTF-8, and reads numbers as float64 by default.
// This reader reads a document exactly or returns an error.

const (
	deepest     = 32  // levels of nesting
	mostMembers = 256 // members of one object
)

var (
	errJSON      = errors.New("not valid JSON")
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("a JSON object has two members of one name")
	errTooDeep   = errors.New("JSON is nested too deeply")
	errTooMany   = errors.New("a JSON object has too many members")
	errUTF8      = errors.New("not valid UTF-8")
)

// readObject calls member for each member of the object in data, which must be
// exactly one object. The name is unescaped and valid only during the call.
func readObject(data []byte, member func(name []byte, v jsonValue) error) error {
	if !utf8.Valid(data) {
		return errUTF8
	}
	r := jsonReader{data: data}
	r.space()
	if r.peek() != '{' {
		return errNotObject
	}
	if err := r.object(1, member); err != nil {
		return err
	}
	r.space()
	if r.pos != len(r.data) {
		return errJSON
	}
	return nil
}

type jsonReader struct {
	data []byte
	pos  int
}

// peek returns the next byte, or 0 at the end. No JSON token begins with 0.
func (r *jsonReader) peek() byte {
	if r.pos < len(r.data) {
		return r.data[r.pos]
	}
	return 0
}

func (r *jsonReader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.pos++
	return true
}

func (r *jsonReader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

func (r *jsonReader) value(depth int) (jsonValue, error) {
	r.space()
	start := r.pos
	var v jsonValue
	var err error
	switch c := r.peek(); {
	case c == '"':
		v.escaped, err = r.string()
	case c == '{':
		err = r.object(depth+1, nil)
	case c == '[':
		err = r.array(depth + 1)
	case c == 't':
		err = r.word("true")
	case c == 'f':
		err = r.word("false")
	case c == 'n':
		err = r.word("null")
	default:
		err = r.number()
	}
	v.raw = r.data[start:r.pos]
	return v, err
}

func (r *jsonReader) word(w string) error {
	if !bytes.HasPrefix(r.data[r.pos:], []byte(w)) {
		return errJSON
	}
	r.pos += len(w)
	return nil
}

func (r *jsonReader) object(depth int, member func([]byte, jsonValue) error) error {
	if depth > deepest {
		return errTooDeep
	}
	r.pos++ // {
	r.space()
	if r.take('}') {
		return nil
	}
	var names nameSet
	for {
		r.space()
		if r.peek() != '"' {
			return errJSON
		}
		start := r.pos
		escaped, err := r.string()
		if err != nil {
			return err
		}
		name := jsonValue{raw: r.data[start:r.pos], escaped: escaped}.bytes()
		if err := names.add(name); err != nil {
			return err
		}
		r.space()
		if !r.take(':') {
			return errJSON
		}
		v, err := r.value(depth)
		if err != nil {
			return err
		}
		if member != nil {
			if err := member(name, v); err != nil {
				return err
			}
		}
		r.space()
		if r.take('}') {
			return nil
		}
		if !r.take(',') {
			return errJSON
		}
	}
}

// nameSet finds duplicate names: by comparison while there are few, as in every
// genuine token, and with a map beyond that.
type nameSet struct {
	few  [16][]byte
	n    int
	many map[string]bool
}

func (s *nameSet) add(name []byte) error {
	for _, other := range s.few[:min(s.n, len(s.few))] {
		if bytes.Equal(other, name) {
			return errDuplicate
		}
	}
	switch {
	case s.n < len(s.few):
		s.few[s.n] = name
	case s.n == mostMembers:
		return errTooMany
	case s.many[string(name)]:
		return errDuplicate
	default:
		if s.many == nil {
			s.many = map[string]bool{}
		}
		s.many[string(name)] = true
	}
	s.n++
	return nil
}

func (r *jsonReader) array(depth int) error {
	if depth > deepest {
		return errTooDeep
	}
	r.pos++ // [
	r.space()
	if r.take(']') {
		return nil
	}
	for {
		if _, err := r.value(depth); err != nil {
			return err
		}
		r.space()
		if r.take(']') {
			return nil
		}
		if !r.take(',') {
			return errJSON
		}
	}
}

// string reads a string and reports whether it contains an escape.
func (r *jsonReader) string() (escaped bool, err error) {
	r.pos++ // "
	for r.pos < len(r.data) {
		switch c := r.data[r.pos]; {
		case c == '"':
			r.pos++
			return escaped, nil
		case c < 0x20:
			return escaped, errJSON
		case c == '\\':
			escaped = true
			if err := r.escape(); err != nil {
				return escaped, err
			}
		default:
			r.pos++
		}
	}
	return escaped, errJSON
}

// escape reads one escape, or both halves of a surrogate pair. An unpaired half is
// an error.
func (r *jsonReader) escape() error {
	switch next := r.at(1); next {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.pos += 2
		return nil
	case 'u':
		u, ok := hex4(r.data[r.pos:])
		if !ok {
			return errJSON
		}
		r.pos += 6
		if !utf16.IsSurrogate(u) {
			return nil
		}
		low, ok := hex4(r.data[r.pos:])
		if !ok || utf16.DecodeRune(u, low) == utf8.RuneError {
			return errUTF8
		}
		r.pos += 6
		return nil
	}
	return errJSON
}

func (r *jsonReader) at(offset int) byte {
	if r.pos+offset < len(r.data) {
		return r.data[r.pos+offset]
	}
	return 0
}

// hex4 reads the \uXXXX at the beginning of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var u rune
	for _, c := range b[2:6] {
		u <<= 4
		switch {
		case '0' <= c && c <= '9':
			u |= rune(c - '0')
		case 'a' <= c && c <= 'f':
			u |= rune(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			u |= rune(c - 'A' + 10)
		default:
			return 0, false
		}
	}
	return u, true
}

func (r *jsonReader) number() error {
	r.take('-')
	if !r.take('0') && !r.digits() {
		return errJSON
	}
	if r.take('.') && !r.digits() {
		return errJSON
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		if !r.digits() {
			return errJSON
		}
	}
	return nil
}

func (r *jsonReader) digits() bool {
	start := r.pos
	for '0' <= r.peek() && r.peek() <= '9' {
		r.pos++
	}
	return r.pos > start
}
