package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// result is what one kind of request did.
type result struct {
	Kind      string  `json:"kind"`
	Requests  int64   `json:"requests"`
	Odd       int64   `json:"odd"` // answers that were not what they should have been
	PerSecond float64 `json:"per_second"`
	MeanUS    float64 `json:"mean_us"`
	P50US     float64 `json:"p50_us"`
	P90US     float64 `json:"p90_us"`
	P99US     float64 `json:"p99_us"`
	P999US    float64 `json:"p999_us"`
	MaxUS     float64 `json:"max_us"`
}

func (t *traffic) failed() bool {
	for kind := range t.odd {
		if t.odd[kind].Load() > 0 {
			return true
		}
	}
	return false
}

func (t *traffic) results(took time.Duration) []result {
	var out []result
	for kind := range t.times {
		h := &t.times[kind]
		us := func(d time.Duration) float64 { return float64(d) / 1000 }
		out = append(out, result{
			Kind: kindNames[kind], Requests: h.Count(), Odd: t.odd[kind].Load(), PerSecond: float64(h.Count()) / took.Seconds(),
			MeanUS: us(h.Mean()), P50US: us(h.Quantile(0.5)), P90US: us(h.Quantile(0.9)), P99US: us(h.Quantile(0.99)),
			P999US: us(h.Quantile(0.999)), MaxUS: us(h.Max()),
		})
	}
	return out
}

// report writes the results as a table or as JSON.
func (t *traffic) report(out io.Writer, took time.Duration) error {
	t.mu.Lock()
	oddity := t.oddity
	t.mu.Unlock()
	results := t.results(took)
	if t.json {
		return json.NewEncoder(out).Encode(struct {
			Seconds float64  `json:"seconds"`
			Results []result `json:"results"`
			Oddity  string   `json:"oddity,omitempty"`
		}{took.Seconds(), results, oddity})
	}
	fmt.Fprintf(out, "%d workers, %d users, %d nodes, %.1f s; times in ms\n", t.workers, t.users, len(t.targets), took.Seconds())
	fmt.Fprintf(out, "%-10s %10s %10s %6s %9s %9s %9s %9s %9s %9s\n", "", "requests", "a second", "odd", "mean", "p50", "p90", "p99", "p99.9", "max")
	for _, r := range results {
		fmt.Fprintf(out, "%-10s %10d %10.1f %6d %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n", r.Kind, r.Requests, r.PerSecond, r.Odd,
			r.MeanUS/1000, r.P50US/1000, r.P90US/1000, r.P99US/1000, r.P999US/1000, r.MaxUS/1000)
	}
	if oddity != "" {
		fmt.Fprintf(out, "the first answer that was not what it should have been: %s\n", oddity)
	}
	return nil
}

func (t *traffic) progress(w io.Writer, took time.Duration) {
	var n, odd int64
	for kind := range t.times {
		n += t.times[kind].Count()
		odd += t.odd[kind].Load()
	}
	fmt.Fprintf(w, "%4.0f s of %.0f: %d requests, %.0f a second, validation p99 %v, %d odd answers\n", took.Seconds(), t.duration.Seconds(),
		n, float64(n)/took.Seconds(), t.times[validate].Quantile(0.99).Round(10*time.Microsecond), odd)
}
