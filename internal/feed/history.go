package feed

import (
	"slices"
	"sync"
	"time"

	"example.com/curfew/revocation"
)

// history records when epochs entered the view, for receipts whose commit time is
// not known.
type history struct {
	mu   sync.Mutex
	seen []commit // ascending in both
}

type commit struct {
	epoch revocation.Epoch
	at    time.Time
}

const (
	historyStep = 100 * time.Millisecond // closer sightings are merged
	historySize = 4096
)

func (h *history) add(epoch revocation.Epoch, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// The entry before the last shows how long the last has been collecting. A
	// merge takes the later instant, so an error is on the late side.
	if n := len(h.seen); n > 1 && at.Sub(h.seen[n-2].at) < historyStep {
		h.seen[n-1] = commit{epoch, at}
		return
	}
	if len(h.seen) == historySize {
		h.seen = slices.Delete(h.seen, 0, historySize/2)
	}
	h.seen = append(h.seen, commit{epoch, at})
}

func (h *history) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = nil
}

// by returns the earliest known instant at which the epoch was in the view.
func (h *history) by(epoch revocation.Epoch) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.seen {
		if s.epoch >= epoch {
			return s.at, true
		}
	}
	return time.Time{}, false
}
