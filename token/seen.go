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

// seen caches tokens whose signature, issuer and audience are verified.
// Verification is the expensive part of a validation, and its result does not
// change while the key is trusted. The cache never stores a decision.
//
// A seeded hash only selects the place of a token; the token is then compared byte
// for byte. An attacker therefore cannot construct a key, and two different tokens
// never match. Readers take no lock. They write no shared memory except,
// occasionally, the bit that marks an entry as used. A full cache evicts entries
// whose bit is not set (CLOCK). Its size is bounded in bytes, because tokens differ
// in length.
type seen struct {
	seed   maphash.Seed
	shards []shard // a power of two
	// the latest shared texts, stored once and not for each token
	header   atomic.Pointer[string]
	audience atomic.Pointer[[]string]
}

// entry is one verified token. All fields but the atomics are immutable after
// publication.
type entry struct {
	session Session
	key     *Key
	header  string // up to the first dot; usually the same for all tokens of a key
	rest    string // from that dot to the end
	size    int
	used    atomic.Bool
	noted   atomic.Int64           // time of the latest call of Config.OnUse: ns since the Unix epoch
	trusted atomic.Pointer[KeySet] // the set that last contained key
	good    atomic.Uint64          // generation of the revocations when last found valid, plus one; 0 for never
	revoked atomic.Pointer[RevokedError]
}

const (
	// hashed is how many of a token's last bytes select its place. They belong to
	// the signature, which is as good as random and of which the issuer makes one
	// for each token. To hash all of a token takes longer than to check the rules.
	hashed       = 48
	ways         = 8
	entryCost    = int(unsafe.Sizeof(entry{})) + 3*8 // plus its share of the places
	stringCost   = int(unsafe.Sizeof(""))
	typicalEntry = 700 // bytes, to estimate the number of places
	maxShards    = 64
	minShard     = 64 << 10 // bytes: several tokens of maximum length
)

// shard is a part of the places with its own lock for writers.
type shard struct {
	places []place // a power of two

	mu    sync.Mutex
	hand  int // the place where the next eviction starts
	bytes int
	max   int // bytes
}

// place holds up to ways entries whose hashes agree in some bits. The tags are
// further bits of the hashes, so that a reader only loads the right entry.
type place struct {
	tags    [ways]atomic.Uint32
	entries [ways]atomic.Pointer[entry]
}

// newSeen returns a cache of at most size bytes. It returns nil, which caches
// nothing, if size is below the minimum.
func newSeen(size int) *seen {
	if size < minShard {
		return nil
	}
	n := 1
	for n < maxShards && size/(2*n) >= minShard {
		n *= 2
	}
	s := &seen{seed: maphash.MakeSeed(), shards: make([]shard, n)}
	places := 1 << bits.Len(uint(size/n/typicalEntry/ways)) // extra room, so that few places overflow
	for i := range s.shards {
		s.shards[i] = shard{places: make([]place, places), max: size / n}
	}
	return s
}

func (s *seen) find(raw string) (*place, *shard, uint32) {
	h := maphash.String(s.seed, raw[max(0, len(raw)-hashed):])
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

// trustedBy reports whether set contains the key of e. It stores the set, so that
// the next search is needed only after the set has changed.
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

// add caches a verified token. It copies the texts, because raw may be part of a
// larger string that should not stay in memory.
func (s *seen) add(raw string, e *entry) {
	if s == nil {
		return
	}
	header := strings.IndexByte(raw, '.')
	rest := raw[header:]
	size := len(rest)
	for text := range e.session.texts {
		size += len(*text)
	}
	audience, shared := s.sharedAudience(e.session.Audience)
	e.size = entryCost + size + len(e.session.Groups)*stringCost
	if !shared {
		e.size += textsCost(audience)
	}
	p, sh, tag := s.find(raw)
	if e.size > sh.max {
		return
	}
	e.header, e.session.Audience = s.sharedHeader(raw[:header]), audience
	var all strings.Builder // one allocation for all texts
	all.Grow(size)
	all.WriteString(rest)
	for text := range e.session.texts {
		all.WriteString(*text)
	}
	own := all.String()
	e.rest, own = own[:len(rest)], own[len(rest):]
	for text := range e.session.texts {
		*text, own = own[:len(*text)], own[len(*text):]
	}
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

// sharedAudience returns audience, or the one of the entry before if they are equal.
// shared reports the latter.
func (s *seen) sharedAudience(audience []string) (_ []string, shared bool) {
	if a := s.audience.Load(); a != nil && slices.Equal(*a, audience) {
		return *a, true
	}
	s.audience.Store(&audience)
	return audience, false
}

// texts yields the texts of the session that each entry stores for itself.
func (s *Session) texts(yield func(*string) bool) {
	for _, text := range []*string{&s.Subject, &s.ID, &s.ACR, &s.Name, &s.Email} {
		if !yield(text) {
			return
		}
	}
	for i := range s.Groups {
		if !yield(&s.Groups[i]) {
			return
		}
	}
}

// textsCost returns the bytes of a slice of texts.
func textsCost(texts []string) int {
	cost := len(texts) * stringCost
	for _, text := range texts {
		cost += len(text)
	}
	return cost
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
			return // another goroutine has added it
		}
	}
	if free < 0 {
		free = p.victim()
		sh.clear(p, free)
	}
	for sh.bytes+e.size > sh.max {
		sh.sweep()
	}
	p.entries[free].Store(e)
	p.tags[free].Store(tag)
	sh.bytes += e.size
}

// victim returns an unused entry of a full place. If all are used, it clears their
// bits and returns the first.
func (p *place) victim() int {
	for i := range ways {
		if !p.entries[i].Load().used.Swap(false) {
			return i
		}
	}
	return 0
}

// sweep moves the hand to the next place and evicts the unused entries of the
// current one.
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

// forget drops the entry of a token.
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
