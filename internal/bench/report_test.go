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
