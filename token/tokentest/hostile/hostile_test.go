package hostile_test

import (
	"slices"
	"testing"

	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// The table is the same each time, so that a failure has a name to look for.
func TestHostileNames(t *testing.T) {
	names := func() []string {
		var names []string
		for _, h := range hostile.Tokens(tokentest.New(t)) {
			names = append(names, h.Name)
		}
		slices.Sort(names)
		return names
	}
	one, two := names(), names()
	if !slices.Equal(one, two) {
		t.Error("the names differ from one issuer to the next")
		for i := range one {
			if one[i] != two[i] {
				t.Fatalf("first %q and %q", one[i], two[i])
			}
		}
	}
}
