package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestTables(t *testing.T) {
	var b strings.Builder
	tables(&b, given{answer: 45 * time.Microsecond, apply: time.Millisecond, cores: 4, lease: 15 * time.Second, rounds: 1})
	for _, want := range []string{"| 1000 |", "| 10000 |", "| 1000020 |", "there is none", "100 %", "Mbit/s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Microsecond: "1.2 ms", 12_345 * time.Microsecond: "12 ms", 1500 * time.Millisecond: "1.5 s",
	} {
		if got := round(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// SCALE.md shows what the command prints with the flags that it names.
func TestPageShowsWhatIsPrinted(t *testing.T) {
	page, err := os.ReadFile("../../SCALE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- tables -->\n")
	shown, _, closed := strings.Cut(rest, "<!-- end -->")
	if !found || !closed {
		t.Fatal("SCALE.md has no tables between <!-- tables --> and <!-- end -->")
	}
	_, rest, _ = strings.Cut(shown, "go run ./cmd/scale ")
	flags, _, found := strings.Cut(rest, "`")
	if !found {
		t.Fatal("SCALE.md does not say how its tables are printed")
	}
	g, err := parse(strings.Fields(flags))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	tables(&b, g)
	if strings.TrimSpace(shown) != strings.TrimSpace(b.String()) {
		t.Errorf("SCALE.md shows\n%s\nbut the command prints\n%s", shown, b.String())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-answer", "0s"}, {"-cores", "0"}, {"-lease", "1s"}, {"-rounds", "0"}, {"-what"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
