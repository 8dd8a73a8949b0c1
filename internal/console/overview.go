package console

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// overviewPage is the start page of administrators.
type overviewPage struct {
	sessions *session.Service
	node     *feed.Node
	// See [Config].
	unknownProxy func() netip.Addr
	refusals     func() map[token.Reason]uint64
}

type overviewView struct {
	frame
	Live     store.Counts
	Windows  []window
	Refusals []refusalRow // nil: not known
	// RefusalsKnown: this node counts them.
	RefusalsKnown bool
	Status        feed.Status
	Changed       when // the last change that the view has
	Nodes         []nodeRow
	// UnknownProxy is the address of a proxy that is not configured; "" if there is
	// none.
	UnknownProxy string
}

// A window is a stretch of time with what happened in it.
type window struct {
	Name  string
	Plots []plot
}

type refusalRow struct {
	Reason token.Reason
	Words  string
	Count  uint64
}

// Figure returns the count as people read it.
func (r refusalRow) Figure() string { return group(int64(min(r.Count, math.MaxInt64))) }

// Following returns how many validators follow, behind all nodes that are there.
func (v overviewView) Following() int64 {
	var n int64
	for _, row := range v.Nodes {
		if row.State != "silent" {
			n += row.Followers
		}
	}
	return n
}

// Entries is how many revocations there are in this node's cache of revocations.
func (v overviewView) Entries() int64 { return int64(v.Status.Cache.Entries) }

// Capacity is how many it may hold: see Entries.
func (v overviewView) Capacity() int64 { return int64(v.Status.Cache.Capacity) }

// spans are the stretches that are plotted. The widths divide an hour or a day,
// so that bars stand for stretches of the clock, and do not move as time goes on.
var spans = []span{
	{"the last hour", "an hour ago", "minute", time.Minute, 60},
	{"the last day", "a day ago", "half hour", 30 * time.Minute, 48},
	{"the last week", "a week ago", "3 hours", 3 * time.Hour, 56},
}

type span struct {
	name, since string
	each        string // stretch that a bar stands for
	width       time.Duration
	bars        int
}

// plotted are the lines of the audit that a plot counts.
var plotted = []struct {
	title   string
	actions []string
}{
	{"Sign-ins", []string{wire.ActionSignIn}},
	{"Sign-ins refused", []string{wire.ActionSignInFailed}},
	{"Revocations", []string{wire.ActionRevokeUser, wire.ActionRevokeSession, wire.ActionRevokeEveryone, wire.ActionRevokeRemembered, wire.ActionUserDisable, wire.ActionUserPassword}},
}

func (p *overviewPage) show(x *exchange) error {
	view := overviewView{frame: x.frame("Overview", "/")}
	var err error
	if view.Live, err = p.sessions.CountLive(x.ctx, x.caller, "", ""); err != nil {
		return err
	}
	var all []string
	for _, of := range plotted {
		all = append(all, of.actions...)
	}
	for _, s := range spans {
		until := x.now().Truncate(s.width).Add(s.width)
		from := until.Add(-s.width * time.Duration(s.bars))
		buckets, err := p.sessions.AuditBuckets(x.ctx, x.caller, from, s.width, all...)
		if err != nil {
			return err
		}
		w := window{Name: s.name, Plots: []plot{p.liveOver(x, s, view.Live.Sessions)}}
		for _, of := range plotted {
			counts := stretches(s.bars, from, s.width, func(yield func(time.Time, int64)) {
				for _, b := range buckets {
					if slices.Contains(of.actions, b.Action) {
						yield(time.UnixMicro(b.Start), b.Count)
					}
				}
			})
			w.Plots = append(w.Plots, happened(of.title, s, counts))
		}
		view.Windows = append(view.Windows, w)
	}
	if p.unknownProxy != nil {
		if a := p.unknownProxy(); a.IsValid() {
			view.UnknownProxy = a.String()
		}
	}
	view.Refusals, view.RefusalsKnown = p.refused(), p.refusals != nil
	view.Status = p.node.Status()
	view.Changed, view.Nodes = x.micro(int64(view.Status.Epoch)), x.nodes(view.Status)
	return x.ok("overview", view)
}

// drawWithin is how long the page waits for one plot of live sessions: it looks
// at every session of its time, and there may be millions.
const drawWithin = time.Second

// liveOver is the plot of live sessions, of which there are now this many. A plot
// that takes too long is not drawn: the rest of the page does not wait for it.
func (p *overviewPage) liveOver(x *exchange, s span, now int64) plot {
	ctx, cancel := context.WithTimeout(x.ctx, drawWithin)
	defer cancel()
	live, err := p.sessions.LiveOver(ctx, x.caller, x.now().Add(-s.width*time.Duration(s.bars-1)), s.width, s.bars)
	if err != nil {
		return undrawn("Live sessions", s, now)
	}
	return stood("Live sessions", s, live)
}

func (p *overviewPage) refused() []refusalRow {
	if p.refusals == nil {
		return nil
	}
	counts := p.refusals()
	var rows []refusalRow
	for _, reason := range token.Reasons() {
		if n := counts[reason]; n > 0 {
			rows = append(rows, refusalRow{reason, refusal(reason), n})
		}
	}
	return rows
}

// nodeRow is a node of this server, as this one sees it.
type nodeRow struct {
	Name, Version string
	Own           bool
	State         string // "up to date", "catching up", "cut off", "silent"
	Words         string // what the state means
	Followers     int64
	Waiting       []string
}

// behindAfter is the age of a change after which a node that has not acknowledged
// it is shown as behind. Nodes acknowledge at once when a caller waits for it, else
// from time to time.
const behindAfter = 10 * time.Second

// nodes returns this node, then the others.
func (x *exchange) nodes(s feed.Status) []nodeRow {
	own := nodeRow{
		Name: s.Name, Version: x.version, Own: true, Followers: s.Followers, Waiting: s.Waiting,
		State: "up to date", Words: "last read the database " + x.when(x.now().Add(-s.Age)).Ago(),
	}
	if !s.Trusted {
		own.State, own.Words = "cut off", "has not reached the database for a whole lease; accepts no session until it does"
	}
	rows := []nodeRow{own}
	for _, n := range s.Nodes {
		row := nodeRow{Name: n.Name, Version: n.Version, Followers: n.Followers, Waiting: n.Waiting, State: "up to date"}
		switch {
		case n.Dead:
			row.State, row.Words = "silent", "no contact for a whole lease; accepts no session any more"
		case n.ViewEpoch < s.Epoch && x.now().Sub(s.Epoch.Time()) > behindAfter:
			row.State, row.Words = "catching up", "last reported all changes up to "+x.micro(int64(n.ViewEpoch)).Ago()
		}
		rows = append(rows, row)
	}
	return rows
}
