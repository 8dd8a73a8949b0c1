package replica

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strconv"
	"sync"
	"weak"

	"example.com/curfew/revocation"
)

// columns are consecutive entries of the log, in slices without pointers. They only
// grow at the end, so that a copy of the headers never changes.
type columns struct {
	epochs []int64
	kinds  []byte
	ends   []uint32 // where each id ends in ids
	ids    []byte
}

type chunk struct {
	columns
	sealed bool

	mu      sync.Mutex
	encoded weak.Pointer[Encoded] // of the whole sealed chunk, while an answer holds it
}

const kindEveryone = 0

var kinds = [...]revocation.Kind{revocation.KindEveryone, revocation.KindRemembered, revocation.KindUser, revocation.KindSession}

func (c *columns) len() int               { return len(c.epochs) }
func (c *columns) last() revocation.Epoch { return revocation.Epoch(c.epochs[len(c.epochs)-1]) }

func (c *columns) add(k revocation.Kind, id string, e revocation.Epoch) {
	c.epochs = append(c.epochs, int64(e))
	c.kinds = append(c.kinds, byte(max(0, slices.Index(kinds[:], k)))) // an unknown kind revokes everyone: fail closed
	c.ids = append(c.ids, id...)
	c.ends = append(c.ends, uint32(len(c.ids))) // a chunk is some 10 000 ids of 128 bytes
}

func (c *chunk) seal() {
	c.columns = columns{exact(c.epochs), exact(c.kinds), exact(c.ends), exact(c.ids)}
	c.sealed = true
}

// exact returns a copy without room to grow.
func exact[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func (c *columns) at(i int) (kind byte, id []byte) {
	start := uint32(0)
	if i > 0 {
		start = c.ends[i-1]
	}
	return c.kinds[i], c.ids[start:c.ends[i]]
}

func (c *columns) sameScope(i int, o *columns, j int) bool {
	k, id := c.at(i)
	ok, oid := o.at(j)
	return k == ok && bytes.Equal(id, oid)
}

func (c *chunk) page(from int) Page {
	p := Page{columns: c.columns, from: from, to: c.len()}
	if from == 0 && c.sealed {
		p.whole = c
	}
	return p
}

// Page is a number of consecutive entries of a log. The zero Page is empty.
type Page struct {
	columns
	from, to int
	whole    *chunk // set if it is all of a sealed chunk
}

// Len returns the number of entries.
func (p *Page) Len() int { return p.to - p.from }

// Last returns the epoch of the last entry, or 0.
func (p *Page) Last() revocation.Epoch {
	if p.Len() == 0 {
		return 0
	}
	return revocation.Epoch(p.epochs[p.to-1])
}

// All ranges over the entries.
func (p *Page) All() iter.Seq[revocation.Revocation] {
	return func(yield func(revocation.Revocation) bool) {
		for i := p.from; i < p.to; i++ {
			kind, id := p.at(i)
			if !yield(revocation.Revocation{Scope: revocation.Scope{Kind: kinds[kind], ID: string(id)}, Epoch: revocation.Epoch(p.epochs[i])}) {
				return
			}
		}
	}
}

// Encoded is the JSON of a page's entries: the elements of an array, without its
// brackets.
type Encoded struct {
	JSON []byte

	once sync.Once
	gzip []byte
}

// Gzip returns JSON compressed, as one gzip member.
func (e *Encoded) Gzip() []byte {
	e.once.Do(func() { e.gzip = compress(e.JSON) })
	return e.gzip
}

// Encode returns the page as JSON. A whole chunk is encoded once for all answers
// that need it at about the same time. The garbage collector may free the bytes
// after that.
func (p *Page) Encode() *Encoded {
	if p.whole == nil {
		return &Encoded{JSON: p.appendJSON(nil)}
	}
	p.whole.mu.Lock()
	defer p.whole.mu.Unlock()
	if e := p.whole.encoded.Value(); e != nil {
		return e
	}
	e := &Encoded{JSON: p.appendJSON(make([]byte, 0, len(p.ids)+64*p.Len()))}
	p.whole.encoded = weak.Make(e)
	return e
}

func (p *Page) appendJSON(b []byte) []byte {
	for i := p.from; i < p.to; i++ {
		kind, id := p.at(i)
		if i > p.from {
			b = append(b, ',')
		}
		b = append(b, `{"scope":"`...)
		b = append(b, kinds[kind]...)
		b = append(b, `","id":`...)
		b = appendString(b, id)
		b = append(b, `,"epoch":`...)
		b = strconv.AppendInt(b, p.epochs[i], 10)
		b = append(b, '}')
	}
	return b
}

func appendString(b, s []byte) []byte {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(string(s))
			if err != nil {
				panic(err) // a string always has a JSON form
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
