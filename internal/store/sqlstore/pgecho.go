package sqlstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A connection pooler in transaction mode accepts LISTEN without an error and loses
// every notification. A listener therefore periodically sends a notification to
// itself, on the same way as commits, and expects it back.
const (
	// echoPrefix is the prefix of the payload of a notification to its sender.
	echoPrefix = "echo:"

	echoTime   = 2 * time.Second  // maximum time of an echo
	echoMisses = 2                // as many consecutive misses count
	echoEvery  = 15 * time.Second // interval while echoes come back
	echoAgain  = 5 * time.Second  // interval while echoes are missing
)

var (
	errListenLost = errors.New("change notifications from PostgreSQL interrupted; this node polls for changes every second")
	errNoEcho     = errors.New("PostgreSQL's change notifications do not reach this node; it polls for changes every second; check for a connection pooler and set --database-listen")
)

// echoes is a listener's state of its own notifications.
type echoes struct {
	heard chan string // payloads that came back

	mu     sync.Mutex
	lost   bool // the connection is lost
	missed bool // notifications do not come back
}

func (e *echoes) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.lost:
		return errListenLost
	case e.missed:
		return errNoEcho
	}
	return nil
}

// setLost and setMissed report whether the value has changed.
func (e *echoes) setLost(lost bool) bool     { return e.set(&e.lost, lost) }
func (e *echoes) setMissed(missed bool) bool { return e.set(&e.missed, missed) }

func (e *echoes) set(flag *bool, value bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := *flag != value
	*flag = value
	return news
}

// hear receives a notification and reports whether it was an echo, of any node.
func (e *echoes) hear(payload string) bool {
	if !strings.HasPrefix(payload, echoPrefix) {
		return false
	}
	select {
	case e.heard <- payload:
	default: // no receiver waits for so many
	}
	return true
}

// watchEchoes sends notifications until ctx ends, and logs when they stop or resume
// coming back.
func (l *pgListener) watchEchoes(ctx context.Context) {
	misses := 0
	for n := 0; ctx.Err() == nil; n++ {
		pause := echoEvery
		switch came, known := l.echo(ctx, echoPrefix+l.self+":"+strconv.Itoa(n)); {
		case !known: // the database does not answer: other code reports that
			pause = echoAgain
		case came:
			misses = 0
			l.logger.Debug("a notification of this node came back from PostgreSQL")
			if l.echoes.setMissed(false) {
				l.logger.Info("PostgreSQL's notifications reach this node again")
			}
		default:
			if misses++; misses < echoMisses {
				continue
			}
			pause = echoAgain
			if l.echoes.setMissed(true) {
				l.logger.Warn("PostgreSQL's notifications do not come back to this node: changes by other nodes are noticed by polling, up to a second later", "advice", l.advice(), "waited", echoTime)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (l *pgListener) advice() string {
	if l.direct {
		return "--database-listen must reach the primary of --database and the same database there, and no connection pooler in transaction mode"
	}
	return "behind a connection pooler in transaction mode, set --database-listen to an address that reaches PostgreSQL itself, or use the pooler's session mode"
}

// echo sends a notification and reports whether it came back. The result is unknown
// if the notification could not be sent, or if the connection was lost meanwhile.
func (l *pgListener) echo(ctx context.Context, payload string) (came, known bool) {
	ctx, cancel := context.WithTimeout(ctx, echoTime)
	defer cancel()
	if err := l.send(ctx, payload); err != nil {
		return false, false
	}
	for {
		select {
		case heard := <-l.echoes.heard:
			if heard == payload {
				return true, true
			}
		case <-ctx.Done():
			return false, errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(l.echoes.err(), errListenLost)
		}
	}
}
