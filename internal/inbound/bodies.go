package inbound

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// Bodies bounds how many requests may wait for the rest of their bodies. A client
// that announces a body and does not send it costs the server a goroutine and some
// kilobytes until the read timeout. When there are too many, the oldest is given
// up: reading its body fails at once, and so its connection ends with the answer.
// It is safe for concurrent use. A nil Bodies bounds nothing.
type Bodies struct {
	mu       sync.Mutex // guards what follows
	pending  *AgeList[*pendingBody]
	givenUp  int64
	now      func() time.Time
	deadline time.Time // that has passed
}

// NewBodies returns a Bodies for at most that many requests older than [Patience],
// and that many at all.
func NewBodies(old, most int) *Bodies {
	return &Bodies{pending: NewAgeList[*pendingBody](old, most), now: time.Now, deadline: time.Unix(1, 0)}
}

// Counts returns how many requests wait for their bodies, and how many were given
// up.
func (b *Bodies) Counts() (pending, givenUp int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(b.pending.Len()), b.givenUp
}

// pendingBody is the body of a request that has not come to its end. It is left by
// its end, by an error, or by finish.
type pendingBody struct {
	io.ReadCloser
	bodies  *Bodies
	control *http.ResponseController
	over    bool // the end, or an error; only the request's goroutine looks
}

// watch watches over the body of r. Call finish when r has been answered.
func (b *Bodies) watch(w http.ResponseWriter, r *http.Request) (finish func(answered bool)) {
	if b == nil || r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return func(bool) {}
	}
	p := &pendingBody{ReadCloser: r.Body, bodies: b, control: http.NewResponseController(w)}
	r.Body = p
	b.mu.Lock()
	surplus, over := b.pending.Add(p, b.now())
	if over {
		b.givenUp++
	}
	b.mu.Unlock()
	if over {
		_ = surplus.control.SetReadDeadline(b.deadline) // a connection that is gone needs none
	}
	return func(answered bool) { p.finish(r, answered) }
}

func (b *Bodies) leave(p *pendingBody) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending.Remove(p)
}

// Read implements io.Reader.
func (p *pendingBody) Read(into []byte) (int, error) {
	n, err := p.ReadCloser.Read(into)
	if err != nil && !p.over {
		p.over = true
		p.bodies.leave(p)
	}
	return n, err
}

// maxUnread is how much of a body that its handler has not read is read after it,
// so that the connection can be used again: as much as net/http reads.
const maxUnread = 256 << 10

// finish is for when the handler has ended. net/http then reads the rest of the
// body, on HTTP/1, and waits for it; finish reads it first, with a bound.
func (p *pendingBody) finish(r *http.Request, answered bool) {
	defer p.bodies.leave(p)
	if p.over || !answered || r.ProtoMajor != 1 || r.Header.Get("Expect") != "" {
		return
	}
	if p.control.Flush() == nil {
		_, _ = io.CopyN(io.Discard, p, maxUnread)
	}
}
