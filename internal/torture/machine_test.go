//go:build torture

package torture

import (
	"runtime"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// slower is how many times its goal something may take on a machine that is as fast
// as an idle one. A test that fails for a moment's delay is soon ignored.
const slower = 10

// watchMachine measures the machine until the test ends, and logs what it found.
func watchMachine(t testing.TB) *Machine {
	t.Helper()
	m := Watch(nil)
	t.Cleanup(func() {
		m.Stop()
		t.Logf("the machine was up to %.1f times slower than an idle one", m.Slowdown())
	})
	return m
}

// allows returns the bound for something that takes less than goal on an idle
// machine. It is far above the goal: what it catches is a Curfew that waits for
// what it must not wait for.
func (m *Machine) allows(goal time.Duration) time.Duration {
	return time.Duration(float64(goal) * slower * m.Slowdown())
}

// Where many threads compete for the processors, the measure says so.
func TestMachineSlowdown(t *testing.T) {
	m := Watch(nil)
	defer m.Stop()
	done := make(chan struct{})
	defer close(done)
	for range 4 * runtime.NumCPU() {
		go func() { // ends with the test
			for {
				select {
				case <-done:
					return
				default:
					work(time.Millisecond)
				}
			}
		}()
	}
	await.Until(t, "the measure says that the machine is slow", func() bool { return m.Slowdown() > 2 })
}
