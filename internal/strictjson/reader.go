// Package strictjson reads JSON (RFC 8259) of an untrusted sender exactly, or returns
// an error. encoding/json is not strict enough: it takes the last of two members with
// the same name, folds letter case ("SUB", "ſid"), replaces invalid UTF-8, and reads
// numbers as float64 by default.
//
// The rules are those of encoding/json/jsontext, whose reader the standard library
// does not have by default yet, with bounds on depth and members.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is the maximum number of arrays and objects around a value.
const MaxDepth = 32

// What can be wrong with a document. The errors quote nothing from it.
var (
	ErrSyntax    = errors.New("not valid JSON")
	ErrNotObject = errors.New("not a JSON object")
	ErrDuplicate = errors.New("a JSON object has two members of one name") // in a *DuplicateError
	ErrTooDeep   = errors.New("JSON is nested too deeply")
	ErrTooMany   = errors.New("a JSON object has too many members")
	ErrUTF8      = errors.New("not valid UTF-8")
	ErrSurrogate = fmt.Errorf("%w", ErrUTF8) // an escape of half a surrogate pair
)

// DuplicateError is the error for an object with two members of one name. It wraps
// [ErrDuplicate].
type DuplicateError struct {
	// Path leads to the second of them: the names of the members, joined by dots. It
	// comes from the document. Elements of arrays add nothing to it.
	Path string
}

func (e *DuplicateError) Error() string { return ErrDuplicate.Error() }

// Unwrap returns [ErrDuplicate].
func (e *DuplicateError) Unwrap() error { return ErrDuplicate }

// Options are the bounds of a document besides [MaxDepth].
type Options struct {
	// MaxMembers is the maximum number of members of one object. Zero means no
	// limit.
	MaxMembers int
}

// Object calls member for each member of the object in data, which must be exactly
// one object. The name is unescaped and, like the value, valid only as long as data
// is not modified. The document may turn out to be invalid after some calls: the
// error is then not nil, and what the calls have read is not to be used. An error of
// member is returned as it is.
func (o Options) Object(data []byte, member func(name []byte, v Value) error) error {
	if !utf8.Valid(data) {
		return ErrUTF8
	}
	r := reader{data: data, maxMembers: o.MaxMembers}
	r.space()
	if r.peek() != '{' {
		if _, err := r.value(0); err != nil {
			return err
		}
		return ErrNotObject
	}
	if err := r.object(1, member); err != nil {
		return err
	}
	r.space()
	if r.pos != len(r.data) {
		return ErrSyntax
	}
	return nil
}

type reader struct {
	data       []byte
	pos        int
	maxMembers int // 0: no limit
}

// peek returns the next byte, or 0 at the end. No JSON token begins with 0.
func (r *reader) peek() byte {
	if r.pos < len(r.data) {
		return r.data[r.pos]
	}
	return 0
}

func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.pos++
	return true
}

func (r *reader) space() {
	for r.pos < len(r.data) {
		switch r.data[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

func (r *reader) value(depth int) (Value, error) {
	r.space()
	start := r.pos
	var v Value
	var err error
	switch r.peek() {
	case '"':
		v.escaped, err = r.string()
	case '{':
		err = r.object(depth+1, nil)
	case '[':
		err = r.array(depth + 1)
	case 't':
		err = r.word("true")
	case 'f':
		err = r.word("false")
	case 'n':
		err = r.word("null")
	default:
		err = r.number()
	}
	v.raw = r.data[start:r.pos]
	return v, err
}

func (r *reader) word(w string) error {
	if !bytes.HasPrefix(r.data[r.pos:], []byte(w)) {
		return ErrSyntax
	}
	r.pos += len(w)
	return nil
}

func (r *reader) object(depth int, member func([]byte, Value) error) error {
	if depth > MaxDepth {
		return ErrTooDeep
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
			return ErrSyntax
		}
		start := r.pos
		escaped, err := r.string()
		if err != nil {
			return err
		}
		name := Value{raw: r.data[start:r.pos], escaped: escaped}.bytes()
		if !names.add(name) {
			return &DuplicateError{Path: string(name)}
		}
		if names.n-1 == r.maxMembers && r.maxMembers > 0 {
			return ErrTooMany
		}
		r.space()
		if !r.take(':') {
			return ErrSyntax
		}
		v, err := r.value(depth)
		if err != nil {
			return within(name, err)
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
			return ErrSyntax
		}
	}
}

// within adds the name of an outer member to the path of a duplicate.
func within(name []byte, err error) error {
	if d, ok := err.(*DuplicateError); ok { //nolint:errorlint // never wrapped here
		return &DuplicateError{Path: string(name) + "." + d.Path}
	}
	return err
}

// nameSet finds duplicate names: by comparison while there are few, as in every
// genuine document, and with a map beyond that.
type nameSet struct {
	few  [16][]byte
	n    int
	many map[string]bool
}

// add adds a name and reports whether it was not there yet.
func (s *nameSet) add(name []byte) bool {
	for _, other := range s.few[:min(s.n, len(s.few))] {
		if bytes.Equal(other, name) {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
	} else {
		if s.many[string(name)] {
			return false
		}
		if s.many == nil {
			s.many = map[string]bool{}
		}
		s.many[string(name)] = true
	}
	s.n++
	return true
}

func (r *reader) array(depth int) error {
	if depth > MaxDepth {
		return ErrTooDeep
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
			return ErrSyntax
		}
	}
}

// string reads a string and reports whether it contains an escape.
func (r *reader) string() (escaped bool, err error) {
	r.pos++ // "
	for r.pos < len(r.data) {
		switch c := r.data[r.pos]; {
		case c == '"':
			r.pos++
			return escaped, nil
		case c < 0x20:
			return escaped, ErrSyntax
		case c == '\\':
			escaped = true
			if err := r.escape(); err != nil {
				return escaped, err
			}
		default:
			r.pos++
		}
	}
	return escaped, ErrSyntax
}

// escape reads one escape, or both halves of a surrogate pair. An unpaired half is
// an error.
func (r *reader) escape() error {
	switch next := r.at(1); next {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		r.pos += 2
		return nil
	case 'u':
		u, ok := hex4(r.data[r.pos:])
		if !ok {
			return ErrSyntax
		}
		r.pos += 6
		if !utf16.IsSurrogate(u) {
			return nil
		}
		low, ok := hex4(r.data[r.pos:])
		if !ok || utf16.DecodeRune(u, low) == utf8.RuneError {
			return ErrSurrogate
		}
		r.pos += 6
		return nil
	}
	return ErrSyntax
}

func (r *reader) at(offset int) byte {
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

func (r *reader) number() error {
	r.take('-')
	if !r.take('0') && !r.digits() {
		return ErrSyntax
	}
	if r.take('.') && !r.digits() {
		return ErrSyntax
	}
	if r.take('e') || r.take('E') {
		if !r.take('+') {
			r.take('-')
		}
		if !r.digits() {
			return ErrSyntax
		}
	}
	return nil
}

func (r *reader) digits() bool {
	start := r.pos
	for '0' <= r.peek() && r.peek() <= '9' {
		r.pos++
	}
	return r.pos > start
}
