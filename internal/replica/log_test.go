package replica

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

func user(id string, e revocation.Epoch) revocation.Revocation {
	return revocation.Revocation{Scope: revocation.User(id), Epoch: e}
}

// all reads a log page by page, as a follower does.
func all(t testing.TB, l *Log, after revocation.Epoch) []revocation.Revocation {
	t.Helper()
	var out []revocation.Revocation
	for more := true; more; {
		var p Page
		p, more = l.After(after)
		got := slices.Collect(p.All())
		if len(got) != p.Len() || more && p.Len() == 0 {
			t.Fatalf("a page of %d has %d entries, more: %v", p.Len(), len(got), more)
		}
		out = append(out, got...)
		if p.Len() > 0 {
			after = p.Last()
		}
	}
	return out
}

func TestLogServesWhatIsAfter(t *testing.T) {
	l := &Log{}
	if got := all(t, l, 0); len(got) != 0 || l.last() != 0 {
		t.Fatalf("an empty log has %v", got)
	}
	var want []revocation.Revocation
	for e := range revocation.Epoch(50_000) {
		r := user(fmt.Sprintf("u%d", e), e+1)
		want = append(want, r)
	}
	l.Append(want...)
	for _, after := range []revocation.Epoch{0, 1, PageSize - 1, PageSize, PageSize + 1, 49_999, 50_000, 50_001} {
		got := all(t, l, after)
		if !slices.Equal(got, want[min(len(want), int(after)):]) {
			t.Errorf("after %d: %d entries, want %d", after, len(got), len(want)-int(after))
		}
	}
}

func TestPagesNeverSplitAnEpoch(t *testing.T) {
	for _, size := range []int{PageSize - 1, PageSize, PageSize + 1, 3 * PageSize} {
		l := &Log{}
		l.Append(user("first", 1))
		for i := range size {
			l.add(revocation.KindUser, fmt.Sprint(i), 2)
		}
		l.Append(user("last", 3))
		p, more := l.After(0)
		if p.Len() < size+1 || p.Last() == 2 != more {
			t.Errorf("%d in one epoch: the first page has %d and ends at %d, more: %v", size, p.Len(), p.Last(), more)
		}
		if got := len(all(t, l, 0)); got != size+2 {
			t.Errorf("%d in one epoch: %d entries, want %d", size, got, size+2)
		}
	}
}

func TestAppendInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want []revocation.Revocation
	for e := range revocation.Epoch(300) {
		want = append(want, user(fmt.Sprintf("u%d", e/3), 1+e/2)) // epochs that two share
	}
	want = slices.Compact(want)
	for range 50 {
		l := &Log{}
		shuffled := append(slices.Clone(want), want[:100]...) // some come twice
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for len(shuffled) > 0 {
			n := 1 + rng.IntN(min(20, len(shuffled)))
			l.Append(shuffled[:n]...)
			shuffled = shuffled[n:]
		}
		got := all(t, l, 0)
		if !slices.IsSortedFunc(got, func(a, b revocation.Revocation) int { return int(a.Epoch - b.Epoch) }) {
			t.Fatal("not in order")
		}
		for _, r := range want {
			if !slices.Contains(got, r) {
				t.Fatalf("%v is missing", r)
			}
		}
	}
}

// What a follower has after reading is the same before and after a compaction.
func TestCompactedDecidesTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		l := &Log{}
		scopes := []revocation.Scope{revocation.Everyone(), revocation.Remembered(), revocation.User("a"), revocation.User("b"), revocation.Session("a"), revocation.Session("c")}
		var everyone revocation.Epoch
		for e := revocation.Epoch(1); e < 60; e++ {
			r := revocation.Revocation{Scope: scopes[rng.IntN(len(scopes))], Epoch: e}
			if r.Scope.Kind == revocation.KindEveryone {
				everyone = e
			}
			l.Append(r)
		}
		c := &Log{entries: l.compacted()}
		if got := len(all(t, c, 0)); got > len(scopes) {
			t.Fatalf("%d entries are left of %d scopes", got, len(scopes))
		}
		for after := range revocation.Epoch(61) {
			before := map[revocation.Scope]revocation.Epoch{}
			for _, r := range all(t, l, after) {
				before[r.Scope] = max(before[r.Scope], r.Epoch)
			}
			now := map[revocation.Scope]revocation.Epoch{}
			for _, r := range all(t, c, after) {
				now[r.Scope] = max(now[r.Scope], r.Epoch)
			}
			for scope, e := range before {
				if now[scope] != e && e > max(everyone, after) {
					t.Fatalf("after %d, %v was %d and is %d; everyone is %d", after, scope, e, now[scope], everyone)
				}
			}
			if before[revocation.Everyone()] != now[revocation.Everyone()] {
				t.Fatalf("after %d, everyone was %d and is %d", after, before[revocation.Everyone()], now[revocation.Everyone()])
			}
		}
	}
}

func TestCloneStaysAsItWas(t *testing.T) {
	for _, size := range []int{1, PageSize, PageSize + 1} {
		l := &Log{}
		for i := range size {
			l.Append(user("ann", revocation.Epoch(2*i+2)))
		}
		c := &Log{entries: l.clone()}
		l.Append(user("bob", revocation.Epoch(2*size+2)))
		c.Append(user("carl", revocation.Epoch(2*size+2)))
		if got := all(t, l, revocation.Epoch(2*size)); len(got) != 1 || got[0].Scope.ID != "bob" {
			t.Errorf("%d: the original has %v", size, got)
		}
		if got := all(t, c, revocation.Epoch(2*size)); len(got) != 1 || got[0].Scope.ID != "carl" {
			t.Errorf("%d: the copy has %v", size, got)
		}
		if l.merged != 0 {
			t.Errorf("%d: merged %d times", size, l.merged)
		}
		if l.Append(user("dora", 1)); l.merged != 1 || c.merged != 0 {
			t.Errorf("%d: merged %d times, the copy %d", size, l.merged, c.merged)
		}
	}
}

func TestDue(t *testing.T) {
	l := &Log{}
	for i := range PageSize {
		l.Append(user("ann", revocation.Epoch(i+1)))
	}
	if l.due() {
		t.Error("due after a page")
	}
	l.Append(user("ann", PageSize+1))
	if !l.due() {
		t.Error("not due after more than a page")
	}
	if c := (&Log{entries: l.compacted()}); c.Len() != 1 || c.due() {
		t.Errorf("%d entries after the compaction, due: %v", c.Len(), c.due())
	}
}

func TestEncode(t *testing.T) {
	l := &Log{}
	strange := []string{"plain", `"quoted"`, `back\slash`, "ü\n\x1b", "<&>", strings.Repeat("x", 128), "\xff"}
	for i, id := range strange {
		l.Append(user(id, revocation.Epoch(i+1)))
	}
	for i := range 2 * PageSize { // the first chunk is sealed, and encoded for all at once
		l.Append(revocation.Revocation{Scope: revocation.Session(fmt.Sprint(i)), Epoch: revocation.Epoch(i + 100)})
	}
	for _, after := range []revocation.Epoch{0, 3} {
		p, _ := l.After(after)
		for range 2 {
			e := p.Encode()
			var got []wire.Revocation
			if err := json.Unmarshal([]byte("["+string(e.JSON)+"]"), &got); err != nil {
				t.Fatal(err)
			}
			if len(got) != p.Len() || got[0].Scope != "user" || got[0].Epoch != int64(after)+1 {
				t.Errorf("after %d: %d entries from %+v", after, len(got), got[0])
			}
			for i := int(after); i < len(strange)-1; i++ {
				if id := got[i-int(after)].ID; id != strange[i] {
					t.Errorf("%q came back as %q", strange[i], id)
				}
			}
			r, err := gzip.NewReader(bytes.NewReader(e.Gzip()))
			if err != nil {
				t.Fatal(err)
			}
			if unzipped, err := io.ReadAll(r); err != nil || !bytes.Equal(unzipped, e.JSON) {
				t.Errorf("unzipped: %v, other bytes: %v", err, !bytes.Equal(unzipped, e.JSON))
			}
		}
	}
}

func TestStored(t *testing.T) {
	for _, size := range []int{0, 1, 65_534, 65_535, 65_536, 200_000} {
		b := bytes.Repeat([]byte("x"), size)
		r, err := gzip.NewReader(bytes.NewReader(append(Stored(b), Stored([]byte("end"))...)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != string(b)+"end" {
			t.Errorf("%d bytes: %v, %d came back", size, err, len(got))
		}
	}
}

// An unknown kind ends more rather than less.
func TestUnknownKindRevokesEveryone(t *testing.T) {
	l := &Log{}
	l.Append(revocation.Revocation{Scope: revocation.Scope{Kind: "device", ID: "x"}, Epoch: 1})
	if got := all(t, l, 0); len(got) != 1 || got[0].Scope.Kind != revocation.KindEveryone {
		t.Errorf("%v", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	var rs []revocation.Revocation
	for i := range 1_000_000 {
		rs = append(rs, user(fmt.Sprintf("0123456789abcdef%06d", i), revocation.Epoch(1_795_453_200_000_000+i)))
	}
	for b.Loop() {
		l := &Log{}
		for page := range slices.Chunk(rs, PageSize) {
			l.Append(page...)
		}
	}
}

func BenchmarkCompacted(b *testing.B) {
	l := &Log{}
	for i := range 1_000_000 {
		l.add(revocation.KindUser, fmt.Sprintf("0123456789abcdef%06d", i%700_000), revocation.Epoch(1_795_453_200_000_000+i))
	}
	for b.Loop() {
		l.compacted()
	}
}

func BenchmarkEncode(b *testing.B) {
	l := &Log{}
	for i := range PageSize {
		l.add(revocation.KindUser, fmt.Sprintf("0123456789abcdef%06d", i), revocation.Epoch(1_795_453_200_000_000+i))
	}
	p, _ := l.After(0)
	for b.Loop() {
		p.Encode()
	}
}
