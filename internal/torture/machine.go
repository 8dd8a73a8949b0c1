package torture

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Machine measures how slow the machine is while a test runs, so that a test can
// tell a slow Curfew from a slow machine. A thread of its own does a piece of work
// again and again. The slowdown is the time that a piece took divided by the
// processor time that it needed: 1 on an idle machine, 5 where ten threads compete
// for two processors.
type Machine struct {
	stop    chan struct{}
	stopped sync.WaitGroup

	mu      sync.Mutex
	latest  [5]float64 // slowdowns
	highest float64    // mean of five in a row
}

const (
	machinePiece = 20 * time.Millisecond  // of processor time
	machinePause = 180 * time.Millisecond // between two pieces: a twentieth of two processors
)

// Watch measures until Stop is called. It calls slow, if that is not nil, with the
// beginning and the end of each piece of work and its slowdown.
func Watch(slow func(from, to time.Time, slowdown float64)) *Machine {
	m := &Machine{stop: make(chan struct{}), latest: [...]float64{1, 1, 1, 1, 1}, highest: 1}
	m.stopped.Go(func() { // ends with Stop
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		for i := 0; ; i = (i + 1) % len(m.latest) {
			due := time.Now().Add(machinePause)
			select {
			case <-m.stop:
				return
			case <-time.After(machinePause):
			}
			work(machinePiece)
			now := time.Now()
			slowdown := max(1, float64(now.Sub(due))/float64(machinePiece)) // a late start counts as well
			m.mu.Lock()
			m.latest[i] = slowdown
			sum := 0.0
			for _, s := range m.latest {
				sum += s
			}
			m.highest = max(m.highest, sum/float64(len(m.latest)))
			m.mu.Unlock()
			if slow != nil {
				slow(due, now, slowdown)
			}
		}
	})
	return m
}

// Slowdown returns the highest slowdown so far, at least 1: the mean of five pieces of
// work in a row, which is a second of an idle machine. Moments do not count.
func (m *Machine) Slowdown() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.highest
}

// Stop ends the measuring.
func (m *Machine) Stop() {
	close(m.stop)
	m.stopped.Wait()
}

// work uses so much time of a processor.
func work(cpu time.Duration) {
	for until := threadTime() + cpu; ; {
		if threadTime() >= until {
			return
		}
	}
}

// threadTime returns the processor time that this thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // Linux has this clock
	}
	return time.Duration(t.Nano())
}
