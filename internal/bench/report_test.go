package main

import (
	"strings"
	"testing"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/plot"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.004: "0", 0.456: "0.46", 1: "1", 1.5: "1.5", 9.994: "9.99", 9.996: "10", 12.34: "12.3", 99.96: "100", 786.4: "786", 123_456: "123k",
	} {
		if got := number(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func series(values ...float64) measure.Series { return measure.Series{Values: values} }

// The median decides, at the goal itself too; a goal that is missed says by how
// much, and why.
func TestGoals(t *testing.T) {
	for _, row := range []struct {
		enter   func(*report)
		reached bool
		note    string
	}{
		{func(r *report) { r.atLeast("x", 2, "×", series(1, 2, 9)) }, true, ""},
		{func(r *report) { r.atLeast("x", 2, "×", series(9, 1.99, 1)) }, false, "0.5 % short of the goal"},
		{func(r *report) { r.atLeast("x", 2, "×", series(1, 1, 9)) }, false, "50 % short of the goal"},
		{func(r *report) { r.atLeast("x", 2, "×", series(6)) }, true, "passed easily, 3.0 times better than asked"},
		{func(r *report) { r.atMost("x", 2, "×", series(2)) }, true, ""},
		{func(r *report) { r.atMost("x", 2, "×", series(4)) }, false, "50 % short of the goal"},
		{func(r *report) { r.atMost("x", 2, "×", series(0.5)) }, true, "passed easily, 4.0 times better than asked"},
		{func(r *report) { r.enter("x", "0", "1", false, 0) }, false, ""},
	} {
		r := &report{}
		row.enter(r)
		r.explain("because")
		g := r.goals[0]
		note := row.note
		if !row.reached {
			note = strings.TrimPrefix(note+": because", ": ")
		}
		if g.reached != row.reached || strings.TrimPrefix(g.note, ": ") != note {
			t.Errorf("%+v, want %v %q", g, row.reached, note)
		}
	}
}

func TestWrite(t *testing.T) {
	b := &bench{rounds: 7}
	b.report.atMost("a thing", 1, " µs", series(2, 3))
	b.report.table("Things", "Words.", []string{"", "µs"}, []string{"one", "2"})
	b.report.plot("a.svg", plot.Chart{Title: "A"})
	var text strings.Builder
	if err := b.report.write(&text, b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Goals: 0 of 1 reached", "| a thing | ≤ 1 µs | **3 µs** (2–3) | **missed** |", "## Things", "| one | 2 |", "![A](a.svg)", "golang-jwt"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

// A section that runs alone replaces its own results and adds new ones.
func TestMerge(t *testing.T) {
	b := &bench{rounds: 7}
	r := &b.report
	r.atMost("a thing", 1, " µs", series(2, 3))
	r.atMost("allocations in it", 0, "", series(0))
	r.atMost("another", 1, " µs", series(1))
	r.atMost("allocations in it", 0, "", series(3))
	r.table("Things", "Words.", []string{"", "µs"}, []string{"one", "2"})
	r.table("Others", "", []string{"", "µs"}, []string{"two", "5"})
	r.plot("a.svg", plot.Chart{Title: "A"})
	var old strings.Builder
	if err := r.write(&old, b); err != nil {
		t.Fatal(err)
	}
	next := &report{}
	next.atMost("a thing", 1, " µs", series(1))
	next.atMost("allocations in it", 0, "", series(0))
	next.atMost("new", 7, " µs", series(9))
	next.table("Things", "Words.", []string{"", "µs"}, []string{"one", "1"})
	next.table("More", "", []string{"", "µs"}, []string{"three", "4"})
	next.plot("a.svg", plot.Chart{Title: "A"})
	next.plot("b.svg", plot.Chart{Title: "B"})
	text := next.merge(old.String(), "(Then.)")
	for part, count := range map[string]int{
		"## Goals: 3 of 5 reached\n":                                         1,
		"| a thing | ≤ 1 µs | 1 µs | reached |  |\n":                         1,
		"| allocations in it | ≤ 0 | 3 |":                                    1, // the other one stays
		"| allocations in it | ":                                             2,
		"| new | ≤ 7 µs | 9 µs | **missed** |":                               1,
		"## Things\n\nWords. (Then.)\n\n|  | µs |\n|---|---|\n| one | 1 |\n": 1,
		"| one | 2 |": 0,
		"## Others\n\n|  | µs |\n|---|---|\n| two | 5 |\n": 1,
		"## More\n\n(Then.)\n\n":                           1,
		"![A](a.svg)\n":                                    1,
		"![B](b.svg)\n":                                    1,
		"## Versions":                                      1,
	} {
		if got := strings.Count(text, part); got != count {
			t.Errorf("%q is there %d times, want %d", part, got, count)
		}
	}
	if again := next.merge(text, "(Then.)"); again != text {
		t.Errorf("the same results once more change the text:\n%s\nwas\n%s", again, text)
	}
	order := []string{"## Goals", "| new ", "![A]", "![B]", "## Things", "## Others", "## More", "## Versions"}
	for i := 1; i < len(order); i++ {
		if strings.Index(text, order[i-1]) > strings.Index(text, order[i]) {
			t.Errorf("%q comes after %q:\n%s", order[i-1], order[i], text)
		}
	}
}
