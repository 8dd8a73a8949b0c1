// Package plot draws line charts with logarithmic axes as SVG, for results that
// are read beside their tables.
package plot

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Line is a named row of points.
type Line struct {
	Name   string
	Points []Point
}

// Point is one measurement. Both numbers must be above zero.
type Point struct{ X, Y float64 }

// Chart is one picture.
type Chart struct {
	Title, X, Y string // title, and what stands along the axes
	Lines       []Line
}

const (
	width, height            = 720, 420
	left, right, top, bottom = 80, 30, 50, 60
)

// A palette that people with colour blindness can tell apart; the dash patterns
// tell the lines apart in print.
var (
	colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
	dashes  = []string{"", "6 3", "2 3", "8 3 2 3", "1 4", "12 4"}
)

// Draw writes the chart.
func (c Chart) Draw(w io.Writer) error {
	x, y := axis{low: math.Inf(1), high: math.Inf(-1)}, axis{low: math.Inf(1), high: math.Inf(-1)}
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if !(p.X > 0) || !(p.Y > 0) || math.IsInf(p.X, 0) || math.IsInf(p.Y, 0) {
				return fmt.Errorf("plot %q: the point (%v, %v) of %q has no logarithm", c.Title, p.X, p.Y, l.Name)
			}
			x.include(p.X)
			y.include(p.Y)
		}
	}
	if math.IsInf(x.low, 0) {
		return fmt.Errorf("plot %q has no points", c.Title)
	}
	x.round(left, width-right)
	y.round(height-bottom, top)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", html.EscapeString(c.Title), width, height)
	text(&b, width/2, 22, "middle", 15, c.Title)
	text(&b, (left+width-right)/2, height-14, "middle", 12, c.X)
	fmt.Fprintf(&b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle" fill="#222">%s</text>`+"\n", (top+height-bottom)/2, html.EscapeString(c.Y))
	for _, v := range x.ticks() {
		line(&b, x.at(v), top, x.at(v), height-bottom)
		text(&b, x.at(v), height-bottom+18, "middle", 12, short(v))
	}
	for _, v := range y.ticks() {
		line(&b, left, y.at(v), width-right, y.at(v))
		text(&b, left-8, y.at(v)+4, "end", 12, short(v))
	}
	for i, l := range c.Lines {
		c.line(&b, x, y, i, l)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (c Chart) line(b *strings.Builder, x, y axis, i int, l Line) {
	colour, dash := colours[i%len(colours)], dashes[i%len(dashes)]
	var path []string
	for _, p := range l.Points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.X), y.at(p.Y)))
	}
	fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s" points="%s"/>`+"\n", colour, dash, strings.Join(path, " "))
	for _, p := range l.Points {
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s: %s at %s</title></circle>`+"\n",
			x.at(p.X), y.at(p.Y), colour, html.EscapeString(l.Name), short(p.Y), short(p.X))
	}
	at := float64(left + 12 + 150*(i%4))
	down := float64(38 + 14*(i/4))
	fmt.Fprintf(b, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", at, down, at+22, down, colour, dash)
	text(b, at+27, down+4, "start", 11, l.Name)
}

func line(b *strings.Builder, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" fill="#222">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

// axis maps values to places by their logarithm.
type axis struct {
	low, high float64
	from, to  float64 // places of low and high
}

func (a *axis) include(v float64) { a.low, a.high = min(a.low, v), max(a.high, v) }

// round widens the axis to whole powers of ten.
func (a *axis) round(from, to float64) {
	a.from, a.to = from, to
	a.low = math.Pow(10, math.Floor(math.Log10(a.low)))
	a.high = math.Pow(10, math.Ceil(math.Log10(a.high)))
	if a.high <= a.low {
		a.high = 10 * a.low
	}
}

func (a *axis) at(v float64) float64 {
	share := (math.Log10(v) - math.Log10(a.low)) / (math.Log10(a.high) - math.Log10(a.low))
	return a.from + share*(a.to-a.from)
}

// ticks returns the powers of ten, with 2 and 5 between them on a short axis.
func (a *axis) ticks() []float64 {
	factors := []float64{1}
	if a.high/a.low <= 100 {
		factors = []float64{1, 2, 5}
	}
	var out []float64
	for v := a.low; v <= a.high*1.001; v *= 10 {
		for _, f := range factors {
			if v*f <= a.high*1.001 {
				out = append(out, v*f)
			}
		}
	}
	return out
}

// short writes a number with the suffix of its thousands.
func short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= unit.size*0.9999 {
			return fmt.Sprintf("%.4g%s", v/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", v)
}
