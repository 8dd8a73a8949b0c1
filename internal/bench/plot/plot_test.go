package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestDrawIsXML(t *testing.T) {
	var b strings.Builder
	c := Chart{Title: `a < b & "c"`, X: "tokens", Y: "ns", Lines: []Line{
		{Name: "one <line>", Points: []Point{{1, 100}, {1e6, 1200}}},
		{Name: "two", Points: []Point{{10, 150}}},
	}}
	if err := c.Draw(&b); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(b.String()))
	circles := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	if circles != 3 {
		t.Errorf("%d points drawn, want 3", circles)
	}
}

func TestAxis(t *testing.T) {
	a := axis{low: 3, high: 3000}
	a.round(0, 400)
	for v, want := range map[float64]float64{1: 0, 10: 100, 100: 200, 10_000: 400} {
		if got := a.at(v); math.Abs(got-want) > 1e-6 {
			t.Errorf("%v stands at %v, want %v", v, got, want)
		}
	}
	if got := len(a.ticks()); got != 5 {
		t.Errorf("%d ticks, want 5", got)
	}
}

func TestDrawRefusesWhatHasNoLogarithm(t *testing.T) {
	for _, p := range []Point{{0, 1}, {1, 0}, {-1, 1}, {1, math.NaN()}, {math.Inf(1), 1}} {
		err := Chart{Title: "t", Lines: []Line{{Name: "l", Points: []Point{p}}}}.Draw(io.Discard)
		if err == nil || !strings.Contains(err.Error(), "no logarithm") {
			t.Errorf("%v: %v", p, err)
		}
	}
	if err := (Chart{Title: "t"}).Draw(io.Discard); err == nil || !strings.Contains(err.Error(), "no points") {
		t.Errorf("no lines: %v", err)
	}
}
