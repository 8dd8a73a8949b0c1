package feed

import (
	"io"
	"strconv"
	"sync"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
)

// Answer is an encoded answer to a [Query]: a short head of its own, and a tail
// that all followers at the same position share.
type Answer struct {
	Epoch revocation.Epoch
	More  bool
	Lease time.Duration // granted; 0 if none

	head []byte
	tail *tail
}

// tail is everything after "now". It is built once and never changes.
type tail struct {
	meta    []byte                  // the members before revocations, and the opening bracket
	encoded func() *replica.Encoded // the list itself; encoded when first sent
}

var tailEnd = []byte("]}\n")

// worthGzip is the minimum size in bytes of an answer to compress.
const worthGzip = 16 << 10

// Gzip reports whether the answer is worth compressing.
func (a *Answer) Gzip() bool { return len(a.tail.encoded().JSON) >= worthGzip }

// Parts returns the parts of the body in order, compressed as gzip members or not.
// They are shared: do not change them.
func (a *Answer) Parts(gzip bool) [][]byte {
	if gzip {
		first := replica.Stored(append(append([]byte(nil), a.head...), a.tail.meta...))
		return [][]byte{first, a.tail.encoded().Gzip(), storedEnd()}
	}
	return [][]byte{a.head, a.tail.meta, a.tail.encoded().JSON, tailEnd}
}

var storedEnd = sync.OnceValue(func() []byte { return replica.Stored(tailEnd) })

// Write writes the body to w. A small body is written in one call.
func (a *Answer) Write(w io.Writer, gzip bool) error {
	parts := a.Parts(gzip)
	if a.Size(gzip) <= worthGzip {
		whole := make([]byte, 0, a.Size(gzip))
		for _, p := range parts {
			whole = append(whole, p...)
		}
		parts = [][]byte{whole}
	}
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Size returns the number of bytes that Write writes.
func (a *Answer) Size(gzip bool) int {
	n := 0
	for _, p := range a.Parts(gzip) {
		n += len(p)
	}
	return n
}

// appendHead writes the members that differ between followers.
func appendHead(b []byte, epoch revocation.Epoch, more bool, held, lease time.Duration, now time.Time) []byte {
	b = append(b, `{"epoch":`...)
	b = strconv.AppendInt(b, int64(epoch), 10)
	b = append(b, `,"more":`...)
	b = strconv.AppendBool(b, more)
	b = append(b, `,"held_ms":`...)
	b = strconv.AppendInt(b, held.Milliseconds(), 10)
	b = append(b, `,"lease_ms":`...)
	b = strconv.AppendInt(b, lease.Milliseconds(), 10)
	b = append(b, `,"now":"`...)
	b = now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	return append(b, '"')
}
