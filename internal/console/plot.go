package console

import (
	"fmt"
	"time"
)

// A plot is a row of bars, for equal stretches of time that end now: how often
// something happened in each, or how many there were of something at its end.
type plot struct {
	Title  string
	Figure int64  // the number beside the title
	Words  string // the plot in a sentence, for screen readers
	Since  string // "an hour ago": where it begins
	Bars   []bar
	Width  int
	// Undrawn: there are too many rows to count.
	Undrawn bool
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

// happened is the plot of how often something happened.
func happened(title string, in span, counts []int64) plot {
	var total, most int64
	for _, n := range counts {
		total, most = total+n, max(most, n)
	}
	p := draw(title, in, counts, most)
	p.Figure, p.Words = total, fmt.Sprintf("%s in %s: none.", title, in.name)
	if total > 0 {
		p.Words = fmt.Sprintf("%s in %s: %s in all, at most %s in one %s.", title, in.name, group(total), group(most), in.each)
	}
	return p
}

// stood is the plot of how many there were of something; the last count is of now.
func stood(title string, in span, counts []int64) plot {
	var most int64
	for _, n := range counts {
		most = max(most, n)
	}
	p := draw(title, in, counts, most)
	if len(counts) > 0 {
		p.Figure = counts[len(counts)-1]
	}
	p.Words = fmt.Sprintf("%s in %s: %s now, at most %s.", title, in.name, group(p.Figure), group(most))
	return p
}

// undrawn is a plot that could not be had in time; now is the figure all the same.
func undrawn(title string, in span, now int64) plot {
	return plot{
		Title: title, Figure: now, Since: in.since, Width: in.bars * barStep, Undrawn: true,
		Words: fmt.Sprintf("%s in %s: %s now; too many to draw.", title, in.name, group(now)),
	}
}

// draw draws counts, the oldest first.
func draw(title string, in span, counts []int64, most int64) plot {
	p := plot{Title: title, Since: in.since, Width: len(counts) * barStep}
	for i, n := range counts {
		if n <= 0 {
			continue
		}
		// Whatever happened is seen, however small beside the highest.
		height := max(2, int(n*plotHeight/most))
		p.Bars = append(p.Bars, bar{X: i * barStep, Y: plotHeight - height, Width: barWidth, Height: height, Count: n})
	}
	return p
}

// Height returns the height of the drawing.
func (p plot) Height() int { return plotHeight }

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
