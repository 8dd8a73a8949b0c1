package await_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/internal/await"
)

// failed records what a test would be failed with.
type failed struct{ text string }

func (f *failed) Helper()                           {}
func (f *failed) Fatalf(format string, args ...any) { f.text = fmt.Sprintf(format, args...) }

func TestUntil(t *testing.T) {
	for _, test := range []struct {
		name  string
		after time.Duration // the event happens
		fails bool
	}{
		{"at once", 0, false},
		{"soon", 3 * time.Second, false},
		{"just before the limit", await.Limit - time.Second, false},
		{"just after the limit", await.Limit + time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				f := new(failed)
				await.Until(f, "the event", func() bool { return time.Since(began) >= test.after })
				took := time.Since(began)
				if test.fails != strings.Contains(f.text, "the event") || test.fails != (f.text != "") {
					t.Errorf("after %v it says %q", took, f.text)
				}
				if want := min(test.after, await.Limit); took < want || took > want+20*time.Millisecond {
					t.Errorf("it returned after %v, want %v", took, want)
				}
			})
		})
	}
}
