package sqlstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A connection pooler in transaction mode takes LISTEN, says that all is well, and
// loses every notification. So a listener sends one to itself now and then, on the
// way that commits take, and expects it back.
const (
	// echoPrefix begins the payload of a notification that is for its sender only.
	echoPrefix = "echo:"

	echoTime   = 2 * time.Second  // how long an echo may take
	echoMisses = 2                // so many in a row that are missed count
	echoEvery  = 15 * time.Second // between two that come back
	echoAgain  = 5 * time.Second  // between two that do not
)

var (
	errListenLost = errors.New("the connection on which PostgreSQL announces changes is lost; changes by other nodes are noticed by polling, within a second")
	errNoEcho     = errors.New("PostgreSQL's notifications do not come back to this node; changes by other nodes are noticed by polling, within a second")
)

// echoes is what a listener knows about its own notifications.
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

// setLost and setMissed report whether that is news.
func (e *echoes) setLost(lost bool) bool     { return e.set(&e.lost, lost) }
func (e *echoes) setMissed(missed bool) bool { return e.set(&e.missed, missed) }

func (e *echoes) set(flag *bool, value bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	news := *flag != value
	*flag = value
	return news
}

// hear takes a notification and reports whether it was an echo, of whichever node.
func (e *echoes) hear(payload string) bool {
	if !strings.HasPrefix(payload, echoPrefix) {
		return false
	}
	select {
	case e.heard <- payload:
	default: // nothing waits for so many
	}
	return true
}

// watchEchoes sends notifications until ctx ends, and says when they stop coming
// back and when they come back again.
func (l *pgListener) watchEchoes(ctx context.Context) {
	misses := 0
	for n := 0; ctx.Err() == nil; n++ {
		pause := echoEvery
		switch came, known := l.echo(ctx, echoPrefix+l.self+":"+strconv.Itoa(n)); {
		case !known: // the database does not answer: others say so
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
				l.logger.Warn("PostgreSQL's notifications do not come back to this node: changes by other nodes are noticed by polling, up to a second later; "+l.advice(), "waited", echoTime)
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

// echo sends a notification and reports whether it came back. It is not known if
// it could not be sent, or if the connection was lost meanwhile.
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
