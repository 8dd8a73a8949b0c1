package main

import (
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
