package main

import (
	"context"
	"fmt"
	"sync"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/internal/bench/plot"
)

// tokensPlot draws the cost of a validation against the number of tokens that
// requests come with.
func (b *bench) tokensPlot(l *load) error {
	jwt := peers.NewGolangJWT(b.kit)
	var cases []measure.Case
	var sizes []int
	for n := 1; n <= len(l.tokens); n *= 10 {
		part := &load{curfew: l.curfew, tokens: l.tokens[:n], draws: measure.Zipf(n, draws, zipf, uint64(n))}
		sizes = append(sizes, n)
		cases = append(cases,
			measure.Case{Name: "Curfew", Run: measure.PerOp(b.slice/2, part.validate)},
			measure.Case{Name: "golang-jwt v5", Run: measure.PerOp(b.slice/2, parse(jwt, part.tokens))})
	}
	series, err := measure.Rounds(5, b.round("cost against tokens"), cases...)
	if err != nil {
		return err
	}
	return b.lines("tokens.svg", plot.Chart{Title: "What one validation costs", X: "tokens that come (Zipf 0.99)", Y: "ns of processor time"}, sizes, series)
}

// lines adds a chart whose series alternate between its lines.
func (b *bench) lines(file string, c plot.Chart, sizes []int, series []measure.Series) error {
	each := len(series) / len(sizes)
	for i := range each {
		l := plot.Line{Name: series[i].Name}
		for j, n := range sizes {
			l.Points = append(l.Points, plot.Point{X: float64(n), Y: series[j*each+i].Median()})
		}
		c.Lines = append(c.Lines, l)
	}
	b.report.plot(file, c)
	return nil
}

// revocationsPlot draws the cost of a validation against the number of
// revocations that are held, while none and while a thousand a second arrive.
func (b *bench) revocationsPlot(l *load) error {
	var still, moving []measure.Case
	var sizes []int
	var curfews []*peers.Curfew
	for n := 100; n <= b.of(10_000_000, 1_000_000); n *= 10 {
		c, err := peers.NewCurfew(b.kit, 1<<24, remember(len(l.tokens)))
		if err != nil {
			return err
		}
		hold(c.Revocations, n)
		part := &load{curfew: c, tokens: l.tokens, draws: l.draws}
		for _, raw := range l.tokens {
			if _, err := c.Validator.Validate(context.Background(), raw); err != nil {
				return err
			}
		}
		sizes, curfews = append(sizes, n), append(curfews, c)
		still = append(still, measure.Case{Name: "no new ones", Run: measure.PerOp(b.slice/2, part.validate)})
		moving = append(moving, measure.Case{Name: "1 000 new ones a second", Run: measure.PerOp(b.slice/2, part.validate)})
	}
	quiet, err := measure.Rounds(5, b.round("cost against revocations, none new"), still...)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i, c := range curfews {
		group.Go(func() { revokeSteadily(b, c, sizes[i], 1000, stop) })
	}
	busy, err := measure.Rounds(5, b.round("cost against revocations, 1 000 new a second"), moving...)
	close(stop)
	group.Wait()
	if err != nil {
		return err
	}
	var series []measure.Series
	for i := range sizes {
		series = append(series, quiet[i], busy[i])
	}
	return b.lines("revocations.svg", plot.Chart{Title: "What one validation costs", X: "revocations held", Y: fmt.Sprintf("ns of processor time, %s", l.name)}, sizes, series)
}
