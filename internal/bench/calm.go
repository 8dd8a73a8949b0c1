package main

import (
	"runtime"
	"sync"
	"time"
)

// A machine that others use as well is busy in bursts. A round begins when the
// processors are free, as far as the patience of the run reaches: waiting changes
// nothing within a round, where all cases have the same neighbours, but the
// scheduler of a machine with ten processes for each processor hides every
// difference in wall time behind its own.

const (
	calmShare = 0.92 // of the processors that this process gets when it wants all
	look      = 15 * time.Millisecond
	pauseFor  = 250 * time.Millisecond
)

// calm waits until the machine is free, or patience is used up.
func (b *bench) calm() {
	for began := time.Now(); ; time.Sleep(pauseFor) {
		if free() >= calmShare {
			return
		}
		if b.patience -= time.Since(began); b.patience <= 0 {
			b.busy = true
			return
		}
		began = time.Now()
	}
}

// free returns the share of all processors that this process gets while it asks
// for all of them, 0 if that cannot be told.
func free() float64 {
	processors := runtime.GOMAXPROCS(0)
	before, err := ownTime()
	if err != nil {
		return 0
	}
	began := time.Now()
	var group sync.WaitGroup
	for range processors {
		group.Go(func() {
			for time.Since(began) < look { //nolint:revive // it is the work
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	after, err := ownTime()
	if err != nil {
		return 0
	}
	return float64(after-before) / float64(took) / float64(processors)
}
