//go:build torture

package torture

import (
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"
)

// A revocation with Prefer: wait=5 against two nodes, an edge and five followers
// says that it holds everywhere, and it does: in milliseconds, where nothing else
// keeps the machine busy.
func TestReceiptFromEverywhere(t *testing.T) {
	binary, err := curfewtest.Build(curfewtest.Module(), t.TempDir(), "curfew")
	if err != nil {
		t.Fatal(err)
	}
	b := setUpWith(t, binary, 1, Config{Nodes: 2, Edges: 1, Followers: 5})
	c := b.cluster
	var took []time.Duration
	for range 20 {
		raw, o, why := c.Begin(c.Nodes[0], "ann")
		if o != OK {
			t.Fatal(o, why)
		}
		for i, name := range c.Validators() {
			if o, why := c.Validate(t.Context(), i, raw); o != OK {
				t.Fatalf("%s does not accept the session: %s %s", name, o, why)
			}
		}
		began := time.Now()
		r, o, why := c.Revoke(c.Nodes[1], "ann", "", 5*time.Second)
		took = append(took, time.Since(began))
		if o != OK {
			t.Fatal(o, why)
		}
		e := r.Enforcement
		if !e.EffectiveEverywhere || e.Validators != 8 || e.Confirmed != 8 || len(e.Waiting) != 0 {
			t.Fatalf("the receipt says %+v, want 8 of 8, everywhere", e)
		}
		for i, name := range c.Validators() {
			if o, why := c.Validate(t.Context(), i, raw); o != Refused || why != "revoked" {
				t.Fatalf("%s: %s %s, after the receipt had said everywhere", name, o, why)
			}
		}
	}
	slices.Sort(took)
	t.Logf("answered in %v (median), %v (longest)", took[len(took)/2], took[len(took)-1])
	if median := took[len(took)/2]; median > time.Second {
		t.Errorf("the median is %v", median)
	}
}
