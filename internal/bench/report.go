package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"example.com/curfew/internal/bench/measure"
	"example.com/curfew/internal/bench/plot"
)

// report collects what the sections found.
type report struct {
	goals  []goal
	tables []table
	plots  []figure
}

// goal is a line of the table of goals.
type goal struct {
	what, want, got string
	reached         bool
	note            string // how far, and why
}

// table is the figures behind the goals.
type table struct {
	title, text string
	head        []string
	rows        [][]string
}

type figure struct {
	file  string
	chart plot.Chart
}

// atLeast and atMost enter a goal about a series of ratios or figures: its median
// decides, the spread stands beside it.
func (r *report) atLeast(what string, want float64, unit string, s measure.Series) {
	r.enter(what, "≥ "+number(want)+unit, spread(s, unit), s.Median() >= want, want/s.Median())
}

func (r *report) atMost(what string, want float64, unit string, s measure.Series) {
	r.enter(what, "≤ "+number(want)+unit, spread(s, unit), s.Median() <= want, s.Median()/want)
}

// enter enters any goal; short is how many times the goal is away, below one if it
// is passed, and zero if that has no meaning.
func (r *report) enter(what, want, got string, reached bool, short float64) {
	g := goal{what: what, want: want, got: got, reached: reached}
	switch {
	case !reached && short > 1:
		g.note = number(100*(1-1/short)) + " % short of the goal"
	case short > 0 && short < 0.5:
		g.note = fmt.Sprintf("passed easily, %.1f times better than asked", 1/short)
	}
	r.goals = append(r.goals, g)
}

// explain adds to the last goal entered why it was missed; it is left out when
// the goal was reached.
func (r *report) explain(why string) {
	last := &r.goals[len(r.goals)-1]
	if !last.reached {
		last.note += ": " + why
	}
}

// remark adds to the last goal entered in any case.
func (r *report) remark(format string, args ...any) {
	last := &r.goals[len(r.goals)-1]
	if last.note != "" {
		last.note += "; "
	}
	last.note += fmt.Sprintf(format, args...)
}

func (r *report) table(title, text string, head []string, rows ...[]string) {
	r.tables = append(r.tables, table{title: title, text: text, head: head, rows: rows})
}

func (r *report) plot(file string, c plot.Chart) { r.plots = append(r.plots, figure{file, c}) }

// spread writes median and range.
func spread(s measure.Series, unit string) string {
	if len(s.Values) == 1 {
		return number(s.Median()) + unit
	}
	return fmt.Sprintf("**%s%s** (%s–%s)", number(s.Median()), unit, number(s.Min()), number(s.Max()))
}

// number writes three significant figures, and whole numbers from 100 on.
func number(v float64) string {
	switch {
	case v >= 99_950:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	default:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
	}
}

// seriesTable has a line for each series: the figure, and its ratio to the first.
func seriesTable(unit string, all []measure.Series, base int) (head []string, rows [][]string) {
	head = []string{"", unit + ": median", "min–max", "× " + all[base].Name}
	for _, s := range all {
		rows = append(rows, []string{s.Name, number(s.Median()), number(s.Min()) + "–" + number(s.Max()), number(s.Over(all[base]).Median())})
	}
	return head, rows
}

// draw writes the plots.
func (b *bench) draw(dir string) error {
	for _, p := range b.report.plots {
		var svg bytes.Buffer
		if err := p.chart.Draw(&svg); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), svg.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// publish writes RESULTS.md and the plots.
func (b *bench) publish(dir string) error {
	if err := b.draw(dir); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := b.report.write(&text, b); err != nil {
		return err
	}
	b.say("writing RESULTS.md and %d plots", len(b.report.plots))
	return os.WriteFile(filepath.Join(dir, "RESULTS.md"), text.Bytes(), 0o644)
}

func (r *report) write(w io.Writer, b *bench) error {
	var t strings.Builder
	t.WriteString("# Results\n\n")
	fmt.Fprintf(&t, "Written by `go run .` in this directory (`make bench` runs it too) on %s, in %.0f s. Do not edit.\n\n",
		time.Now().UTC().Format("2 January 2006"), time.Since(b.began).Seconds())
	fmt.Fprintf(&t, "%s, %s/%s, %d processors (%s). ", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor())
	fmt.Fprintf(&t, "Figures are medians of %d interleaved rounds with (least–most) behind them, unless said otherwise; "+
		"a ratio is taken within one round. Times of single operations are processor time of the thread that does them. "+
		"The machine was shared: trust ratios before times. Rounds waited for it to be free%s; its load average was %s at the end of the run.\n\n",
		b.rounds, map[bool]string{true: ", but it was busy for longer than they would wait"}[b.busy], loadAverage())
	if b.quick {
		t.WriteString("**This was a quick run**: fewer rounds and smaller numbers than the goals ask for.\n\n")
	}
	reached := 0
	for _, g := range r.goals {
		if g.reached {
			reached++
		}
	}
	fmt.Fprintf(&t, "## Goals: %d of %d reached\n\n| | goal | measured | | |\n|---|---|---|---|---|\n", reached, len(r.goals))
	for _, g := range r.goals {
		t.WriteString(g.String() + "\n")
	}
	for _, p := range r.plots {
		t.WriteString("\n" + p.image())
	}
	for _, x := range r.tables {
		t.WriteString(x.String())
	}
	t.WriteString("\n## Versions\n\n")
	t.WriteString(versions())
	_, err := io.WriteString(w, t.String())
	return err
}

// String returns the row of a goal in the table of goals.
func (g goal) String() string {
	mark := "reached"
	if !g.reached {
		mark = "**missed**"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", g.what, g.want, g.got, mark, g.note)
}

// image returns the reference to a plot.
func (f figure) image() string { return fmt.Sprintf("![%s](%s)\n", f.chart.Title, f.file) }

// String returns the table with its title and text.
func (x table) String() string {
	var t strings.Builder
	fmt.Fprintf(&t, "\n## %s\n\n", x.title)
	if x.text != "" {
		fmt.Fprintf(&t, "%s\n\n", x.text)
	}
	fmt.Fprintf(&t, "| %s |\n|%s\n", strings.Join(x.head, " | "), strings.Repeat("---|", len(x.head)))
	for _, row := range x.rows {
		fmt.Fprintf(&t, "| %s |\n", strings.Join(row, " | "))
	}
	return t.String()
}

// origin says when and where a section was measured that ran alone.
func (b *bench) origin() string {
	quick := ""
	if b.quick {
		quick = "**A quick run**, with smaller numbers than the goals ask for, "
	}
	return fmt.Sprintf("(%smeasured alone on %s, with %s on %d processors (%s); load average %s.)", quick,
		time.Now().UTC().Format("2 January 2006"), runtime.Version(), runtime.NumCPU(), processor(), loadAverage())
}

// loadAverage says how many processes wanted a processor: this run alone is one
// to three.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:2], " (1 minute) and ") + " (5 minutes)"
}

// processor returns the name that the kernel gives the processor.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// versions lists what was measured.
func versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var t strings.Builder
	for _, want := range []string{"golang-jwt", "go-jose/v4", "jwx", "go-jwt-middleware", "alexedwards/scs", "golang-lru", "modernc.org/sqlite", "lib/pq"} {
		for _, m := range info.Deps {
			if strings.Contains(m.Path, want) {
				fmt.Fprintf(&t, "- %s %s\n", m.Path, m.Version)
			}
		}
	}
	return t.String()
}
