package console

import (
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/store"
)

// attention is something that an administrator should look at.
type attention struct {
	Urgent  bool   // sessions are refused now, or will be soon
	Words   string // what it is, and what to do
	Flag    string // the flag that mends it, or a file that it is about; "" if there is none
	Path    string // where to look; "" if nowhere
	Link    string // the words of the link
	Waiting []string
}

const (
	// clocksApart is how far the last change may be in the future of this node's clock.
	clocksApart = 2 * time.Second
	// certificateLeft is when a certificate near its end is shown; one with a short life
	// is shown in the last fifth of it. Clients that renew do so much earlier.
	certificateLeft = 14 * 24 * time.Hour
	// keyAge is the age at which a signing key should be replaced (NIST SP 800-57 part 1,
	// section 5.3.6: one to three years).
	keyAge = 365 * 24 * time.Hour
)

// attention returns the points that need attention, urgent ones first.
func (p *overviewPage) attention(x *exchange, s feed.Status, nodes []nodeRow, first *account.FirstPassword) ([]attention, error) {
	var urgent, other []attention
	if first != nil {
		other = append(other, x.firstPassword(first))
	}
	for _, n := range nodes {
		name := firstOf(clip(n.Name, 80), "A node without a name")
		switch {
		case n.State == cutOff:
			urgent = append(urgent, attention{Words: "This node has not reached the database for a whole lease. It accepts no session until it does."})
		case n.State == silent:
			urgent = append(urgent, attention{Words: name + " has not reported for a whole lease. It and the validators that follow it accept no session until it does. If it was removed, it disappears from this page by itself."})
		case n.State == catchingUp:
			other = append(other, attention{Words: name + " is not up to date: it " + n.Words + "."})
		}
		if len(n.Waiting) > 0 && n.State != silent && x.old(s) {
			other = append(other, attention{Words: "Followers of " + name + " have not confirmed the last change. They accept no session once their lease has ended:", Waiting: n.Waiting})
		}
	}
	if s.Error != nil {
		urgent = append(urgent, attention{Words: "The last read of the database failed. The node tries again; the cause is in its log."})
	}
	if ahead := s.Epoch.Time().Sub(x.now()); ahead > clocksApart {
		urgent = append(urgent, attention{Words: "Clocks are apart: the last change is dated " + duration(ahead) + " ahead of this node’s clock. Synchronize the clocks of all servers, for example with NTP."})
	}
	if p.certificate != nil {
		if begins, ends := p.certificate(); !ends.IsZero() {
			switch left := ends.Sub(x.now()); {
			case left <= 0:
				urgent = append(urgent, attention{Words: "The TLS certificate of this node ended " + x.when(ends).Ago() + ". Renew it: the node reads the new files by itself."})
			case left < min(certificateLeft, ends.Sub(begins)/5):
				other = append(other, attention{Words: "The TLS certificate of this node ends in " + about(ends.Sub(x.now())) + ". Renew it: the node reads the new files by itself."})
			}
		}
	}
	keys, err := p.ring.List(x.ctx, x.caller)
	if err != nil {
		return nil, err
	}
	other = append(other, x.keysToReplace(keys)...)
	if p.unknownProxy != nil {
		if a := p.unknownProxy(); a.IsValid() {
			other = append(other, attention{
				Words: "Requests arrive through " + a.String() + ", which is not a trusted proxy. All its clients count as one address and share one rate limit. If it is your proxy, start the server with",
				Flag:  "--trusted-proxies " + a.String(),
			})
		}
	}
	if p.unknownReturns != nil {
		for _, host := range p.unknownReturns() {
			other = append(other, attention{
				Words: "Forward auth sends browsers from " + clip(host, 80) + " to the sign-in page, and they do not return after the sign-in: it is not an allowed host. If it is your service, start the server with",
				Flag:  "--return-hosts " + host,
			})
		}
	}
	if p.warnings != nil {
		for _, w := range p.warnings() {
			other = append(other, attention{Words: sentenceOf(w)})
		}
	}
	for i := range urgent {
		urgent[i].Urgent = true
	}
	return append(urgent, other...), nil
}

// keysToReplace returns the faults of the signing keys.
func (x *exchange) keysToReplace(keys []store.Key) []attention {
	var found []attention
	next := false
	for _, k := range keys {
		next = next || k.State == store.KeyNext
		if k.State == store.KeyActive && x.now().Sub(time.UnixMicro(max(k.ActivatedAt, k.CreatedAt))) > keyAge {
			found = append(found, attention{Words: "The active signing key has signed for more than a year. Rotate the keys: no session ends.", Path: "/keys", Link: "Signing keys"})
		}
	}
	if !next && len(keys) > 0 {
		found = append(found, attention{Words: "No next signing key stands by, so that a rotation has to wait for one. Curfew creates it as soon as it can write to the database.", Path: "/keys", Link: "Signing keys"})
	}
	return found
}

// sentenceOf makes a sentence of a text for a log.
func sentenceOf(text string) string {
	if text == "" {
		return ""
	}
	return strings.TrimSuffix(upper(text), ".") + "."
}
