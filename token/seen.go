package token

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// seen remembers tokens whose signature, issuer and audience were proven: the
// costly part of a validation, which does not change while the key is trusted. It
// never remembers a decision.
//
// A token is found by a seeded hash, which only picks the place to look, and
// compared byte for byte: nobody can supply a key, and no two tokens are ever
// taken for each other. Readers take no lock and write nothing shared but, now
// and then, the bit that says that an entry is in use. A full cache forgets
// entries whose bit is not set (CLOCK), and its size is bounded in bytes, since
// tokens differ in length.
type seen struct {
	seed   maphash.Seed
	shards []shard // a power of two
	// latest shared texts, so that they are kept once and not per token
	header   atomic.Pointer[string]
	audience atomic.Pointer[[]string]
}

// entry is one proven token. All but the atomics is fixed once it is published.
type entry struct {
	session Session
	key     *Key
	header  string // up to the first dot; usually shared by all tokens of a key
	rest    string // from that dot on
	size    int
	used    atomic.Bool
	trusted atomic.Pointer[KeySet] // the set in which key was last found
	good    atomic.Uint64          // generation of the revocations when last found good, plus one; 0 for never
	revoked atomic.Pointer[RevokedError]
}

const (
	ways         = 8
	entryCost    = int(unsafe.Sizeof(entry{})) + 3*8 // and its share of the places
	typicalEntry = 600                               // bytes, for a guess at the number of places
	mostShards   = 64
	leastShard   = 64 << 10 // bytes: several of the longest tokens
)

// shard is a part of the places with a lock of its own for writers.
type shard struct {
	places []place // a power of two

	mu    sync.Mutex
	hand  int // the place at which the next eviction looks first
	bytes int
	most  int
}

// place holds up to ways entries whose hashes agree in some bits. The tags are
// further bits of the hashes, so that a reader touches the right entry alone.
type place struct {
	tags    [ways]atomic.Uint32
	entries [ways]atomic.Pointer[entry]
}

// newSeen returns a cache of at most size bytes; nil, which remembers nothing,
// for a size below the smallest useful one.
func newSeen(size int) *seen {
	if size < leastShard {
		return nil
	}
	n := 1
	for n < mostShards && size/(2*n) >= leastShard {
		n *= 2
	}
	s := &seen{seed: maphash.MakeSeed(), shards: make([]shard, n)}
	places := 1 << bits.Len(uint(size/n/typicalEntry/ways)) // room to spare, so that few places overflow
	for i := range s.shards {
		s.shards[i] = shard{places: make([]place, places), most: size / n}
	}
	return s
}

func (s *seen) find(raw string) (*place, *shard, uint32) {
	h := maphash.String(s.seed, raw)
	sh := &s.shards[h&uint64(len(s.shards)-1)]
	return &sh.places[(h>>8)&uint64(len(sh.places)-1)], sh, uint32(h>>32) | 1
}

// get returns the entry of a token, or nil.
func (s *seen) get(raw string) *entry {
	if s == nil {
		return nil
	}
	p, _, tag := s.find(raw)
	for i := range ways {
		if p.tags[i].Load() != tag {
			continue
		}
		if e := p.entries[i].Load(); e != nil && e.is(raw) {
			if !e.used.Load() {
				e.used.Store(true)
			}
			return e
		}
	}
	return nil
}

// trustedBy reports whether the key of e is in a set. It remembers the set in
// which it last was, so that it is looked for only after the set has changed.
func (e *entry) trustedBy(set *KeySet) bool {
	if set == e.trusted.Load() && set != nil {
		return true
	}
	if !set.trusts(e.key) {
		return false
	}
	e.trusted.Store(set)
	return true
}

func (e *entry) is(raw string) bool {
	return len(raw) == len(e.header)+len(e.rest) && raw[len(e.header):] == e.rest && raw[:len(e.header)] == e.header
}

// add remembers a proven token. The texts are copied: raw may be part of
// something larger that should not be kept.
func (s *seen) add(raw string, e *entry) {
	if s == nil {
		return
	}
	header := strings.IndexByte(raw, '.')
	n := len(raw) - header
	own := raw[header:] + e.session.Subject + e.session.ID // one allocation for the three
	e.size = entryCost + len(own)
	p, sh, tag := s.find(raw)
	if e.size > sh.most {
		return
	}
	e.header = s.sharedHeader(raw[:header])
	e.rest, own = own[:n], own[n:]
	e.session.Subject, e.session.ID = own[:len(e.session.Subject)], own[len(e.session.Subject):]
	e.session.Audience = s.sharedAudience(e.session.Audience)
	e.used.Store(true)
	sh.insert(p, tag, e)
}

func (s *seen) sharedHeader(header string) string {
	if h := s.header.Load(); h != nil && *h == header {
		return *h
	}
	h := strings.Clone(header)
	s.header.Store(&h)
	return h
}

func (s *seen) sharedAudience(audience []string) []string {
	a := s.audience.Load()
	if a == nil || !slices.Equal(*a, audience) {
		a = &audience
		s.audience.Store(a)
	}
	return *a
}

func (sh *shard) insert(p *place, tag uint32, e *entry) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	free := -1
	for i := range ways {
		old := p.entries[i].Load()
		if old == nil {
			free = i
			continue
		}
		if old.header == e.header && old.rest == e.rest {
			return // somebody else was quicker
		}
	}
	if free < 0 {
		free = p.victim()
		sh.clear(p, free)
	}
	for sh.bytes+e.size > sh.most {
		sh.sweep()
	}
	p.entries[free].Store(e)
	p.tags[free].Store(tag)
	sh.bytes += e.size
}

// victim returns an entry of a full place that is not in use; if all are, they
// lose the bit and the first one goes.
func (p *place) victim() int {
	for i := range ways {
		if !p.entries[i].Load().used.Swap(false) {
			return i
		}
	}
	return 0
}

// sweep moves the hand over one place and forgets what is not in use there.
func (sh *shard) sweep() {
	p := &sh.places[sh.hand]
	sh.hand = (sh.hand + 1) & (len(sh.places) - 1)
	for i := range ways {
		if e := p.entries[i].Load(); e != nil && !e.used.Swap(false) {
			sh.clear(p, i)
		}
	}
}

func (sh *shard) clear(p *place, i int) {
	if e := p.entries[i].Load(); e != nil {
		p.tags[i].Store(0)
		p.entries[i].Store(nil)
		sh.bytes -= e.size
	}
}

// forget drops the entry of a token that is over.
func (s *seen) forget(raw string) {
	p, sh, tag := s.find(raw)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range ways {
		if e := p.entries[i].Load(); e != nil && p.tags[i].Load() == tag && e.is(raw) {
			sh.clear(p, i)
		}
	}
}
