package token

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"example.com/curfew/internal/notify"
)

// IssuerSource supplies the issuers whose tokens are accepted. Current must be safe
// for concurrent use, and must not block. [Issuers] is one.
type IssuerSource interface {
	Current() *IssuerSet
}

// IssuerSet is the issuer, and the issuers of earlier that are accepted until an
// instant, because the installation has moved to another URL. It is immutable. A nil
// set accepts no issuer.
type IssuerSet struct {
	issuer string
	former []formerIssuer
}

type formerIssuer struct {
	name  string
	until UnixTime
}

// NewIssuerSet returns a set of the issuer and of former ones, each of which is
// accepted until the second given. It returns an error if a name is empty, if the
// issuer is also a former one, or if an end is not a date.
func NewIssuerSet(issuer string, former map[string]UnixTime) (*IssuerSet, error) {
	if issuer == "" {
		return nil, fmt.Errorf("token: the issuer is empty")
	}
	s := &IssuerSet{issuer: issuer}
	for name, until := range former {
		if name == "" || name == issuer || !validDate(until) {
			return nil, fmt.Errorf("token: the former issuer %q until %d is not valid beside %q", name, until, issuer)
		}
		s.former = append(s.former, formerIssuer{name, until})
	}
	return s, nil
}

// Until returns the second from which on tokens of the issuer are refused: 0 if they
// are refused in any case, and a date beyond those of all tokens for the issuer that
// is not a former one. Issuers are compared byte by byte.
func (s *IssuerSet) Until(issuer string) UnixTime {
	if s == nil {
		return 0
	}
	if issuer == s.issuer {
		return latestDate
	}
	for i := range s.former {
		if s.former[i].name == issuer {
			return s.former[i].until
		}
	}
	return 0
}

// kept returns the text of the set that equals issuer, so that not every token keeps
// its own.
func (s *IssuerSet) kept(issuer string) string {
	if s != nil {
		if issuer == s.issuer {
			return s.issuer
		}
		for i := range s.former {
			if s.former[i].name == issuer {
				return s.former[i].name
			}
		}
	}
	return strings.Clone(issuer)
}

// Issuers is an [IssuerSource] that can be set. The zero value accepts no issuer. It
// is safe for concurrent use.
type Issuers struct {
	p       atomic.Pointer[IssuerSet]
	changed notify.List[struct{}]
}

// Current returns the set that was last set.
func (i *Issuers) Current() *IssuerSet { return i.p.Load() }

// Set replaces the set of accepted issuers.
func (i *Issuers) Set(s *IssuerSet) {
	i.p.Store(s)
	i.changed.Send(struct{}{})
}

// Subscribe registers f: every later Set calls f before it returns. f must return
// quickly and must not call Set. cancel ends the subscription.
func (i *Issuers) Subscribe(f func()) (cancel func()) {
	return i.changed.Add(func(struct{}) { f() })
}

// fixedIssuer is an [IssuerSource] that never changes.
type fixedIssuer struct{ set *IssuerSet }

func (f fixedIssuer) Current() *IssuerSet { return f.set }

// Subscribe registers nothing: there are no changes.
func (fixedIssuer) Subscribe(func()) (cancel func()) { return func() {} }

// checkIssuer checks the issuer of a token whose signature is good. The issuer may
// have changed, and the view may be behind: then it catches up, but at most once per
// interval, since an old token can be presented again and again.
func checkIssuer(ctx context.Context, v *Validator, p *parsed) error {
	accepted := func() bool {
		return v.issuers.Current().Until(p.session.Issuer) > UnixTime(v.now().Unix())
	}
	if accepted() {
		return nil
	}
	if v.config.Issuers == nil {
		return v.wrongIssuer()
	}
	last, now := v.askedIssuer.Load(), int64(v.now().Sub(v.start))
	if now-last >= int64(v.config.unknownKeyInterval()) && v.askedIssuer.CompareAndSwap(last, now) {
		if err := v.catchUp(ctx); err != nil {
			return err
		}
		if accepted() {
			return nil
		}
	}
	if !v.config.View.Trusted(v.now()) {
		return errLeaseOver
	}
	return v.wrongIssuer()
}

func (v *Validator) wrongIssuer() error {
	want := ""
	if set := v.issuers.Current(); set != nil {
		want = set.issuer
	}
	return fmt.Errorf("%w: want %q", ErrWrongIssuer, want)
}
