package console

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/token"
)

// overviewPage is the start page of administrators.
type overviewPage struct {
	accounts *account.Service
	sessions *session.Service
	ring     *keyring.Ring
	node     *feed.Node
	// See [Config].
	unknownProxy   func() netip.Addr
	unknownReturns func() []string
	forwardAuth    bool
	certificate    func() (begins, ends time.Time)
	warnings       func() []string
	refusals       func() map[token.Reason]uint64
}

type overviewView struct {
	frame
	Attention []attention
	Steps     *firstSteps // nil: there are none
	Live      store.Counts
	// Validators are those that a receipt of now would count: nodes that are not
	// silent, and all that follow them.
	Validators, Nodes, Followers int64
	Chart                        chart
	Revocations                  []receiptView
	NodeRows                     []nodeRow
	Status                       feed.Status
	Changed                      when // the last change that the view has
	Refusals                     []refusalRow
	// RefusalsKnown: this node counts them.
	RefusalsKnown bool
}

// A chart is one series over one span, with links to the others.
type chart struct {
	plot
	Title  string
	Spans  []choice
	Series []choice
	List   string // address of the list of the things counted
	// ListWords are the words of a link to the list.
	ListWords string
}

// A choice is a link that changes the chart.
type choice struct {
	Path, Words string
	Figure      int64
	Chosen      bool
}

type refusalRow struct {
	Reason token.Reason
	Words  string
	Count  uint64
}

// Figure returns the count as people read it.
func (r refusalRow) Figure() string { return group(int64(min(r.Count, math.MaxInt64))) }

// Entries is how many revocations there are in this node's cache of revocations.
func (v overviewView) Entries() int64 { return int64(v.Status.Cache.Entries) }

// Capacity is how many it may hold: see Entries.
func (v overviewView) Capacity() int64 { return int64(v.Status.Cache.Capacity) }

// A series is something that the chart can show.
type series struct {
	name    string // in addresses
	title   string
	thing   string   // one of it
	actions []string // entries of the audit that it counts; nil: sessions that were live
	unknown bool     // it counts only entries whose actor is not known
	list    string   // address of the list of what it counts
	listed  string   // words of a link to it
}

var allSeries = []series{
	{name: "live", title: "Live sessions", thing: "live session", list: "/users?show=live", listed: "Users with live sessions"},
	{name: "sign-ins", title: "Sign-ins", thing: "sign-in", actions: []string{wire.ActionSignIn}, list: "/audit?action=" + wire.ActionSignIn, listed: "All sign-ins"},
	{name: "refused", title: "Sign-ins refused", thing: "refused sign-in", actions: []string{wire.ActionSignInFailed}, unknown: true, list: "/audit?action=" + wire.ActionSignInFailed, listed: "Refused sign-ins and passwords"},
	{name: "revocations", title: "Revocations", thing: "revocation", actions: revoking, list: "/revocations", listed: "All revocations"},
}

// revoking are the actions that the overview counts as revocations.
var revoking = []string{
	wire.ActionRevokeUser, wire.ActionRevokeSession, wire.ActionRevokeEveryone, wire.ActionRevokeRemembered, wire.ActionUserDisable, wire.ActionUserPassword,
}

func (p *overviewPage) show(x *exchange) error {
	view := overviewView{frame: x.frame("Overview", "/")}
	var err error
	if view.Live, err = p.sessions.CountLive(x.ctx, x.caller, "", ""); err != nil {
		return err
	}
	if view.Chart, err = p.chart(x, view.Live.Sessions); err != nil {
		return err
	}
	if view.Revocations, err = p.recent(x); err != nil {
		return err
	}
	view.Status = p.node.Status()
	view.Changed, view.NodeRows = x.micro(int64(view.Status.Epoch)), x.nodes(view.Status)
	for _, row := range view.NodeRows {
		if row.State != silent {
			view.Nodes++
			view.Followers += row.Followers
		}
	}
	view.Validators = view.Nodes + view.Followers
	first, err := p.accounts.FirstPassword(x.ctx, x.caller)
	if err != nil {
		return err
	}
	if view.Attention, err = p.attention(x, view.Status, view.NodeRows, first); err != nil {
		return err
	}
	if view.Steps, err = p.firstSteps(x, first); err != nil {
		return err
	}
	view.Refusals, view.RefusalsKnown = p.refused(), p.refusals != nil
	return x.ok("overview", view)
}

// chart returns the chart that the address asks for. live is the number of sessions
// that are live now.
func (p *overviewPage) chart(x *exchange, live int64) (chart, error) {
	s, show := spans[1], allSeries[0]
	for _, one := range spans {
		if one.name == x.text("span") {
			s = one
		}
	}
	var counted []string
	for _, one := range allSeries {
		if one.name == x.text("show") {
			show = one
		}
		counted = append(counted, one.actions...)
	}
	from := s.from(x.now())
	buckets, err := p.sessions.AuditBuckets(x.ctx, x.caller, from, s.width, counted...)
	if err != nil {
		return chart{}, err
	}
	c := chart{Title: show.title + " in " + s.words, List: show.list, ListWords: show.listed}
	for _, one := range spans {
		c.Spans = append(c.Spans, choice{Path: chartPath(one, show), Words: upper(one.name), Chosen: one.name == s.name})
	}
	for _, one := range allSeries {
		figure := live
		if one.actions != nil {
			counts := stretches(s.bars, from, s.width, func(yield func(time.Time, int64)) {
				for _, b := range buckets {
					if slices.Contains(one.actions, b.Action) && !(one.unknown && b.Known) {
						yield(time.UnixMicro(b.Start), b.Count)
					}
				}
			})
			figure = 0
			for _, n := range counts {
				figure += n
			}
			if one.name == show.name {
				c.plot = draw(s, from, counts, one.thing, false)
				c.Words = happened(one.title, s, counts)
			}
		}
		c.Series = append(c.Series, choice{Path: chartPath(s, one), Words: one.title, Figure: figure, Chosen: one.name == show.name})
	}
	if show.actions == nil {
		c.plot = p.liveOver(x, s, show, live)
	}
	return c, nil
}

// chartPath returns the address of the overview with a chart.
func chartPath(s span, show series) string { return "/?show=" + show.name + "&span=" + s.name }

// drawWithin is how long the page waits for the plot of live sessions: it looks
// at every session of its time, and there may be millions.
const drawWithin = time.Second

// liveOver is the plot of live sessions, of which there are now this many. A plot
// that takes too long is not drawn: the rest of the page does not wait for it.
func (p *overviewPage) liveOver(x *exchange, s span, show series, now int64) plot {
	ctx, cancel := context.WithTimeout(x.ctx, drawWithin)
	defer cancel()
	from := x.now().Add(-s.width * time.Duration(s.bars))
	counts, err := p.sessions.LiveOver(ctx, x.caller, from.Add(s.width), s.width, s.bars)
	if err != nil {
		return plot{Undrawn: true, Words: fmt.Sprintf("%s in %s: %s now; too many to draw.", show.title, s.words, group(now))}
	}
	drawn := draw(s, from, counts, show.thing, true)
	drawn.Words = stood(show.title, s, counts)
	return drawn
}

// recentRevocations is how many the overview shows.
const recentRevocations = 6

// recent returns the receipts of the latest revocations.
func (p *overviewPage) recent(x *exchange) ([]receiptView, error) {
	receipts, err := p.sessions.Receipts(x.ctx, x.caller, store.ReceiptFilter{}, recentRevocations)
	if err != nil {
		return nil, err
	}
	views := make([]receiptView, len(receipts))
	for i, r := range receipts {
		views[i] = x.receiptView(r)
	}
	return views, nil
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
	State         nodeState
	Words         string // what the state means
	Followers     int64
	Waiting       []string
}

type nodeState string

const (
	upToDate   nodeState = "up to date"
	catchingUp nodeState = "catching up"
	cutOff     nodeState = "cut off"
	silent     nodeState = "silent"
	stopped    nodeState = "stopped"
)

// behindAfter is the age of a change after which a node that has not acknowledged
// it is shown as behind. Nodes acknowledge at once when a caller waits for it, else
// from time to time.
const behindAfter = 10 * time.Second

// nodes returns this node, then the others.
func (x *exchange) nodes(s feed.Status) []nodeRow {
	own := nodeRow{
		Name: s.Name, Version: x.version, Own: true, Followers: s.Followers, Waiting: s.Waiting,
		State: upToDate, Words: "last read the database " + x.when(x.now().Add(-s.Age)).Ago(),
	}
	if !s.Trusted {
		own.State, own.Words = cutOff, "has not reached the database for a whole lease; accepts no session until it does"
	}
	rows := []nodeRow{own}
	names := map[string]int{s.Name: 1}
	for _, n := range s.Nodes {
		names[n.Name]++
	}
	for _, n := range s.Nodes {
		if names[n.Name] > 1 { // as after a restart
			n.Name = clip(n.Name, 40) + " (started " + n.Started.UTC().Format("2 January, 15:04") + " UTC)"
		}
		row := nodeRow{Name: n.Name, Version: n.Version, Followers: n.Followers, Waiting: n.Waiting, State: upToDate}
		switch {
		case n.Leaving:
			row.State, row.Words, row.Waiting = stopped, "its last leases end in "+duration(n.LeaseLeft+time.Second), nil
		case n.Dead:
			row.State, row.Words = silent, "no contact for a whole lease; accepts no session any more"
		case n.ViewEpoch < s.Epoch && x.old(s):
			row.State, row.Words = catchingUp, "last reported all changes up to "+x.micro(int64(n.ViewEpoch)).Ago()
		}
		rows = append(rows, row)
	}
	return rows
}

// old reports whether the last change is so old that all validators should have it.
func (x *exchange) old(s feed.Status) bool { return x.now().Sub(s.Epoch.Time()) > behindAfter }
