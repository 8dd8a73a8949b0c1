package main

import (
	"testing"
	"time"
)

func TestCalmGivesUp(t *testing.T) {
	b := &bench{patience: time.Nanosecond}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 { // free at once, or given up at once
			b.calm()
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
	}
	if share := free(); share <= 0 || share > 1.05 {
		t.Errorf("this process got %v of the processors", share)
	}
}
