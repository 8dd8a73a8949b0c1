package app

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/internal/fault"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/metrics"
	"example.com/curfew/internal/upstream"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// warnEvery is the least time between two warnings about the same thing.
const warnEvery = time.Minute

// observer is told of every decision about a token.
type observer struct {
	host   *host
	warned atomic.Int64 // when it was last warned of a clock: ns since the Unix epoch
}

// observe counts a decision. A token that is dated in the future means that a
// clock is off, here or where it was minted, and that is for an operator to mend.
func (o *observer) observe(reason token.Reason, took time.Duration) {
	o.host.metrics.Validation(reason, took)
	if reason != token.ErrNotYetValid {
		return
	}
	now, last := o.host.now().UnixNano(), o.warned.Load()
	// A clock that was set back makes tokens look so, and the last warning too.
	if (last == 0 || now < last || now-last >= int64(warnEvery)) && o.warned.CompareAndSwap(last, now) {
		o.host.log.Warn("token refused: it is dated in the future; this machine's clock is behind, or the issuing server's is ahead; synchronize both clocks",
			"code", string(token.ErrNotYetValid))
	}
}

// counted counts the actions of this process, from the API, the console and
// disabled accounts alike. It is also a node's view, so that it sees every
// revocation.
type counted struct {
	*feed.Node
	metrics *metrics.Metrics
}

// signedIn counts an attempt to sign in.
func (c counted) signedIn(err error) {
	code := ""
	if err != nil {
		code = fault.Of(err).Code
	}
	c.metrics.SignIn(code)
}

// Applied is that of the node.
func (c counted) Applied(revocations ...revocation.Revocation) {
	for i := range revocations {
		c.metrics.Revoked(string(revocations[i].Scope.Kind))
	}
	c.Node.Applied(revocations...)
}

// reading counts how a view is kept current.
type reading struct {
	reads *prometheus.CounterVec
	lag   prometheus.Histogram
}

func newReading(registry prometheus.Registerer) (*reading, error) {
	r := &reading{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_feed_reads_total", Help: "Reads of changes from the database or, at an edge, from its upstream, by outcome: good or failed.",
		}, []string{"outcome"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "curfew_feed_lag_seconds",
			Help:    "Time from a revocation until this node enforces it. It compares the clocks of two machines.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}),
	}
	return r, errors.Join(registry.Register(r.reads), registry.Register(r.lag))
}

// onRead is a feed.Config's OnRead.
func (r *reading) onRead(revocations int, lag time.Duration, err error) {
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			r.reads.WithLabelValues("failed").Inc()
		}
		return
	}
	r.reads.WithLabelValues("good").Inc()
	if revocations > 0 {
		r.lag.Observe(max(0, lag).Seconds())
	}
}

// onEvent is the OnEvent of an upstream.Config.
func (r *reading) onEvent(e upstream.Event) {
	switch e.Kind {
	case upstream.EventAnswered:
		r.reads.WithLabelValues("good").Inc()
	case upstream.EventFailed:
		r.reads.WithLabelValues("failed").Inc()
	case upstream.EventStartedOver, upstream.EventSavedFile:
	}
}
