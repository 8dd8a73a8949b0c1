package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/curfew/internal/uses"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// reporter reports uses of sessions to the server.
type reporter struct {
	follower *Follower
	uses     *uses.Set
	pause    time.Time // until when a server that takes no reports is sent none
}

const (
	// reportEvery is the minimum time between two reports, if one is enough.
	reportEvery = 15 * time.Second
	// reportTimeout is the maximum time of a report.
	reportTimeout = 5 * time.Second
	// reportAgain is how long a server that takes no reports is sent none: it is of an
	// earlier release, or a proxy refuses them.
	reportAgain = 10 * time.Minute
)

func newReporter(f *Follower) reporter {
	r := reporter{follower: f, uses: f.config.Uses}
	if r.uses == nil {
		r.uses = uses.NewSet()
	}
	return r
}

// note is the OnUse of a validator.
func (r *reporter) note(s *token.Session, at time.Time) {
	r.uses.Add("", uses.Use{Session: s.ID, At: at})
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	r.uses.Run(ctx, uses.Sender{
		Batch: uses.MaxReport, Every: reportEvery, Timeout: reportTimeout, Send: r.send,
		Again: func(err error) bool { return !errors.Is(err, errNotTaken) },
	})
}

// errNotTaken means that it is of no use to send a report again.
var errNotTaken = errors.New("the server does not take the report")

// send sends one report to the server that answered last.
func (r *reporter) send(ctx context.Context, batch []uses.Use) error {
	f := r.follower
	now := f.now()
	if now.Before(r.pause) {
		return errNotTaken
	}
	report := wire.Uses{Uses: make([]wire.Use, 0, len(batch))}
	for _, u := range batch {
		// Both instants are of the clock of this process.
		age := int64(max(0, now.Sub(u.At)) / time.Second)
		if age <= int64(uses.MaxAge/time.Second) {
			report.Uses = append(report.Uses, wire.Use{Session: u.Session, AgeSeconds: &age})
		}
	}
	body, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	server := f.servers[f.current.Load()]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.JoinPath("/v1/uses").String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	request.Header.Set("Content-Type", "application/json")
	status, _, err := f.exchange(request, reportTimeout)
	switch {
	case err != nil:
		return err
	case status == http.StatusNoContent:
		return nil
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusForbidden:
		r.pause = now.Add(reportAgain)
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return fmt.Errorf("the server answered %d", status)
	}
	return fmt.Errorf("%w: it answered %d", errNotTaken, status)
}
