package console

import (
	"math"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

type overviewView struct {
	frame
	Live     store.Counts
	Windows  []window
	Refusals []refusalRow // nil: not known
	// RefusalsKnown: this node counts them.
	RefusalsKnown bool
	Node          nodeView
	Nodes         []nodeRow
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
		if !row.Left {
			n += row.Followers
		}
	}
	return n
}

// Entries and Capacity are those of this node's cache of revocations.
func (v overviewView) Entries() int64 { return int64(v.Node.Cache.Entries) }

// Capacity: see Entries.
func (v overviewView) Capacity() int64 { return int64(v.Node.Cache.Capacity) }

// spans are the stretches that are plotted. The widths divide an hour or a day,
// so that bars stand for stretches of the clock, and do not move as time goes on.
var spans = []struct {
	name, each string
	width      time.Duration
	bars       int
}{
	{"the last hour", "minute", time.Minute, 60},
	{"the last day", "half hour", 30 * time.Minute, 48},
	{"the last week", "3 hours", 3 * time.Hour, 56},
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

func (c *console) overview(x *exchange) error {
	view := overviewView{frame: x.frame("Overview", "/")}
	var err error
	if view.Live, err = c.config.Sessions.CountLive(x.ctx, x.caller, "", ""); err != nil {
		return err
	}
	var all []string
	for _, p := range plotted {
		all = append(all, p.actions...)
	}
	for _, s := range spans {
		until := x.now().Truncate(s.width).Add(s.width)
		from := until.Add(-s.width * time.Duration(s.bars))
		buckets, err := c.config.Sessions.AuditBuckets(x.ctx, x.caller, from, s.width, all...)
		if err != nil {
			return err
		}
		w := window{Name: s.name}
		for _, p := range plotted {
			counts := stretches(s.bars, from, s.width, func(yield func(time.Time, int64)) {
				for _, b := range buckets {
					if contains(p.actions, b.Action) {
						yield(time.UnixMicro(b.Start), b.Count)
					}
				}
			})
			w.Plots = append(w.Plots, newPlot(p.title, s.name, s.each, counts, x.when(from), x.when(until)))
		}
		view.Windows = append(view.Windows, w)
	}
	view.Refusals, view.RefusalsKnown = x.refusals(), x.config.Refusals != nil
	if err := x.nodes(&view); err != nil {
		return err
	}
	return x.ok("overview", view)
}

func (x *exchange) refusals() []refusalRow {
	if x.config.Refusals == nil {
		return nil
	}
	counts := x.config.Refusals()
	var rows []refusalRow
	for _, reason := range token.Reasons() {
		if n := counts[reason]; n > 0 {
			rows = append(rows, refusalRow{reason, refusal(reason), n})
		}
	}
	return rows
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

// nodeView is this node, and how current its view is.
type nodeView struct {
	Name, Version string
	Trusted       bool // its lease runs
	Epoch         when // up to which it has seen every change
	Cache         revocation.Stats
}

// nodeRow is a node as it describes itself in the store.
type nodeRow struct {
	Name, Version string
	Own           bool
	Started       when
	View          when // up to which it has seen every change
	Behind        bool // it has not confirmed what this node knows
	Followers     int64
	Waiting       []string
	Lease         time.Duration
	Left          bool
}

func (x *exchange) nodes(view *overviewView) error {
	node := x.config.Node
	view.Node = nodeView{
		Version: x.config.Version, Trusted: node.Trusted(x.now()), Epoch: x.micro(int64(node.Epoch())), Cache: node.Cache().Stats(),
	}
	rows, err := x.config.Sessions.Nodes(x.ctx, x.caller)
	if err != nil {
		return err
	}
	for _, n := range rows {
		row := nodeRow{
			Name: n.Name, Version: n.Version, Own: n.ID == node.ID(), Started: x.micro(n.StartedAt), View: x.micro(int64(n.ViewEpoch)),
			Behind: n.ViewEpoch < node.Epoch(), Followers: n.Followers, Waiting: n.Waiting,
			Lease: time.Duration(n.LeaseMS) * time.Millisecond, Left: n.Left,
		}
		if row.Own {
			view.Node.Name = n.Name
		}
		view.Nodes = append(view.Nodes, row)
	}
	return nil
}
