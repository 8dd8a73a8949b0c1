package console

import (
	"fmt"
	"time"
)

// A plot is a row of bars: how often something happened in each of a number of
// equal stretches of time that end now.
type plot struct {
	Title string
	Span  string // "the last hour"
	Each  string // "minute": the width of a bar
	Bars  []bar
	Total int64
	Most  int64 // the highest bar
	Width int
	From  when
	To    when
}

// A bar is drawn where it has a height. All measures are in units of the drawing.
type bar struct {
	X, Y, Width, Height int
	Count               int64
}

const (
	plotHeight = 64
	barStep    = 6 // from one bar to the next
	barWidth   = 5
)

// newPlot draws counts, the oldest first.
func newPlot(title, span, each string, counts []int64, from, to when) plot {
	p := plot{Title: title, Span: span, Each: each, Width: len(counts) * barStep, From: from, To: to}
	for _, n := range counts {
		p.Total += n
		p.Most = max(p.Most, n)
	}
	for i, n := range counts {
		if n <= 0 {
			continue
		}
		// Whatever happened is seen, however small beside the highest.
		height := max(2, int(n*plotHeight/p.Most))
		p.Bars = append(p.Bars, bar{X: i * barStep, Y: plotHeight - height, Width: barWidth, Height: height, Count: n})
	}
	return p
}

// Height returns the height of the drawing.
func (p plot) Height() int { return plotHeight }

// Words says in a sentence what the plot shows, for those who do not see it.
func (p plot) Words() string {
	if p.Total == 0 {
		return fmt.Sprintf("%s in %s: none.", p.Title, p.Span)
	}
	return fmt.Sprintf("%s in %s: %s in all, at most %s in one %s.", p.Title, p.Span, group(p.Total), group(p.Most), p.Each)
}

// stretches sorts events into n stretches of width that begin at from.
func stretches(n int, from time.Time, width time.Duration, add func(yield func(at time.Time, count int64))) []int64 {
	counts := make([]int64, n)
	add(func(at time.Time, count int64) {
		if i := int(at.Sub(from) / width); i >= 0 && i < n && !at.Before(from) {
			counts[i] += count
		}
	})
	return counts
}
