package console

import (
	"fmt"
	"strconv"
	"time"
)

// A span is a stretch of time that ends now, and is divided into equal parts. The width
// of a part divides an hour or a day, so that bars stand for stretches of the clock, and
// do not move as time goes on.
type span struct {
	name   string // in addresses
	words  string // "the last hour"
	each   string // "a minute": what a bar stands for
	width  time.Duration
	bars   int
	tick   int    // bars from one label of the axis to the next
	labels string // layout of a label, see time.Layout
}

const timeOfDay = "15:04"

var spans = []span{
	{"hour", "the last hour", "a minute", time.Minute, 60, 15, timeOfDay},
	{"day", "the last day", "half an hour", 30 * time.Minute, 48, 12, timeOfDay},
	{"week", "the last week", "3 hours", 3 * time.Hour, 56, 8, "Mon 2 Jan"},
}

// from returns the beginning of the span: its last part has begun, and not ended.
func (s span) from(now time.Time) time.Time {
	return now.UTC().Truncate(s.width).Add(s.width - s.width*time.Duration(s.bars))
}

// A plot is a bar chart of a span: how often something happened in each part, or how
// many there were of something at its end. All measures are in percent of the drawing.
type plot struct {
	Words   string // the plot in a sentence, for screen readers
	Bars    []bar
	Levels  []level // labels of the vertical axis, the highest first
	Ticks   []tick  // labels of the horizontal axis
	Each    string
	Undrawn bool // there are too many rows to count
}

// A bar stands for a part of the span. It is drawn where it has a height.
type bar struct {
	X, Y, Width, Height string
	Count               string // "12 sign-ins"
	At                  time.Time
}

// ISO returns the beginning of the part for programs.
func (b bar) ISO() string { return when{at: b.At}.ISO() }

// Begins returns the beginning of the part for readers without a script.
func (b bar) Begins() string { return b.At.UTC().Format("2 January, 15:04 UTC") }

type level struct {
	Y     string
	Count int64
}

type tick struct {
	X, Label string
	At       time.Time
	Day      bool // the label is a day, not a time of day
	Last     bool // so near to the end that the label has to end there
}

// ISO returns the instant of the tick for programs.
func (t tick) ISO() string { return when{at: t.At}.ISO() }

// draw draws the counts of the parts of a span that begins at from. A count is of a
// whole part, or of its end if atEnd is set. thing is the name of one thing counted.
func draw(s span, from time.Time, counts []int64, thing string, atEnd bool) plot {
	top := roundUp(counts)
	p := plot{Each: s.each, Levels: []level{{"0%", top}, {"50%", top / 2}, {"100%", 0}}}
	step := 100 / float64(s.bars)
	for i, n := range counts {
		at := from.Add(s.width * time.Duration(i))
		if atEnd {
			at = at.Add(s.width)
		}
		height := 0.0
		if n > 0 {
			height = max(1.5, 100*float64(n)/float64(top)) // seen, however small
		}
		p.Bars = append(p.Bars, bar{
			X: percentOf(step * (float64(i) + 0.08)), Width: percentOf(step * 0.84), Y: percentOf(100 - height), Height: percentOf(height),
			Count: count(n, thing), At: at,
		})
	}
	every, whole := s.width*time.Duration(s.tick), s.width*time.Duration(s.bars)
	for at := from.Add(-1).Truncate(every).Add(every); at.Sub(from) < whole; at = at.Add(every) {
		x := 100 * float64(at.Sub(from)) / float64(whole)
		p.Ticks = append(p.Ticks, tick{X: percentOf(x), Last: x > 95, Label: at.UTC().Format(s.labels), At: at, Day: s.labels != timeOfDay})
	}
	return p
}

// roundUp returns the top of the axis: an even number, not below any count, that is
// easy to read.
func roundUp(counts []int64) int64 {
	var most int64
	for _, n := range counts {
		most = max(most, n)
	}
	for scale := int64(1); ; scale *= 10 {
		for _, step := range []int64{2, 4, 6, 10, 12, 16} {
			if top := step * scale; top >= most {
				return top
			}
		}
	}
}

func percentOf(x float64) string { return strconv.FormatFloat(x, 'f', 3, 64) + "%" }

// happened is the sentence about how often something happened.
func happened(title string, s span, counts []int64) string {
	var total, most int64
	for _, n := range counts {
		total, most = total+n, max(most, n)
	}
	if total == 0 {
		return fmt.Sprintf("%s in %s: none.", title, s.words)
	}
	return fmt.Sprintf("%s in %s: %s in all, at most %s in %s.", title, s.words, group(total), group(most), s.each)
}

// stood is the sentence about how many there were of something; the last count is of
// now.
func stood(title string, s span, counts []int64) string {
	var now, most int64
	for _, n := range counts {
		now, most = n, max(most, n)
	}
	return fmt.Sprintf("%s in %s: %s now, at most %s.", title, s.words, group(now), group(most))
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
