package feed

import (
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"time"

	"example.com/curfew/internal/changelog"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
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
	meta    []byte                    // the members before revocations, and the opening bracket
	encoded func() *changelog.Encoded // the list itself; encoded when first sent
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
		first := changelog.Stored(append(append([]byte(nil), a.head...), a.tail.meta...))
		return [][]byte{first, a.tail.encoded().Gzip(), storedEnd()}
	}
	return [][]byte{a.head, a.tail.meta, a.tail.encoded().JSON, tailEnd}
}

var storedEnd = sync.OnceValue(func() []byte { return changelog.Stored(tailEnd) })

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

// shared is the state of a view without revocations. Each part has the epoch of its
// last change.
type shared struct {
	issuer       string
	audience     []string
	installation revocation.Epoch
	settings     *settings.InForce
	keys         json.RawMessage // a JWK Set
	keysEpoch    revocation.Epoch
	clients      revocation.Epoch // of the last change of a client; 0 if not known
}

// appendMeta writes the parts that are newer than after, and opens the list of
// revocations.
func (s *shared) appendMeta(b []byte, after revocation.Epoch) []byte {
	member := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err) // strings, numbers, and a JWK Set that was parsed before
		}
		b = append(b, ',', '"')
		b = append(b, name...)
		b = append(b, '"', ':')
		b = append(b, text...)
	}
	if s.installation > after {
		member("issuer", s.issuer)
		member("audience", s.audience)
	}
	if s.settings != nil && (after == 0 || s.settings.Epoch > int64(after)) {
		member("settings", feedSettings(s.settings))
	}
	if s.keysEpoch > after {
		member("keys", s.keys)
	}
	if s.clients > after {
		member("clients_epoch", int64(s.clients))
	}
	return append(b, `,"revocations":[`...)
}

func feedSettings(in *settings.InForce) wire.FeedSettings {
	return wire.FeedSettings{
		SessionTimeoutSeconds:         settings.Seconds(in.SessionTimeout),
		MaximumSessionDurationSeconds: settings.Seconds(in.MaximumSessionDuration),
		RememberMeEnabled:             in.RememberMeEnabled,
		IdleFloor:                     in.IdleFloor,
		IdleFloorEpoch:                in.IdleFloorEpoch,
		MaximumFloor:                  in.MaximumFloor,
		MaximumFloorEpoch:             in.MaximumFloorEpoch,
		Epoch:                         in.Epoch,
	}
}
