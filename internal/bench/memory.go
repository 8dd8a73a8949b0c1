package main

import (
	"runtime"
	"runtime/metrics"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/revocation"
)

// memory is what a complete set of revocations weighs, and what it costs the
// garbage collector, beside golang-lru, a list of the same.
func (b *bench) memory() error {
	const million = 1_000_000
	table := weigh(million, newTable)
	list := weigh(million, newList)
	b.report.atMost("memory per revoked user, at 1M", 45, " B", single(table.bytes))
	b.report.remark("golang-lru %s B", number(list.bytes))
	b.costs["bytes revoked"] = table.bytes

	many := b.of(10*million, million)
	b.say("  %s revocations", count(many))
	full := weigh(many, newTable)
	b.report.atMost("one garbage collection with "+count(many)+" revocations held, CPU", 1, " ms", single(full.collect.Seconds()*1000))
	b.report.remark("golang-lru %s s at 1M; of an empty heap %s ms", number(list.collect.Seconds()), number(collection().Seconds()*1000))
	b.report.explain("the table itself has no pointers; this is what a collection costs whatever is held")
	row := func(name string, n int, w weight) []string {
		return []string{name, count(n), number(w.bytes), number(w.collect.Seconds() * 1000), number(w.fill.Seconds() * 1000)}
	}
	b.report.table("Revocations held", "Heap by entry, CPU time of one garbage collection, and time to fill it page by page.",
		[]string{"", "entries", "B each", "collection, ms", "filling, ms"},
		row("revocation.Cache", million, table), row("golang-lru", million, list),
		row("revocation.Cache", many, full))
	return nil
}

func single(v float64) measure.Series { return measure.Series{Values: []float64{v}} }

type weight struct {
	bytes   float64       // of heap for an entry
	collect time.Duration // CPU of one collection
	fill    time.Duration
}

// weigh fills a thing with n entries.
func weigh(n int, fill func(n int) any) weight {
	before := heap()
	began := time.Now()
	held := fill(n)
	w := weight{fill: time.Since(began)}
	w.bytes = float64(heap()-before) / float64(n)
	w.collect = collection()
	runtime.KeepAlive(held)
	return w
}

func newTable(n int) any {
	c := revocation.NewCache(revocation.CacheConfig{Capacity: n})
	hold(c, n)
	return c
}

func newList(n int) any {
	l, err := lru.New[string, revocation.Epoch](n)
	if err != nil {
		panic(err) // only for a size below one
	}
	for i := range n {
		l.Add(peers.User(1<<28+i), revocation.Epoch(1+i))
	}
	return l
}

// collection returns the CPU time of one garbage collection: the least of three,
// since the rest is the neighbours'.
func collection() time.Duration {
	least := time.Hour
	for range 3 {
		before := collected()
		runtime.GC()
		least = min(least, collected()-before)
	}
	return least
}

// collected returns the CPU time that all collections so far have taken, without
// what idle processors gave.
func collected() time.Duration {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
	}
	metrics.Read(samples)
	return time.Duration(samples[0].Value.Float64() * float64(time.Second))
}
