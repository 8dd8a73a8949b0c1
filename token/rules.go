package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/settings"
)

// A rule is one condition for accepting a token. The lists below hold all of them
// in the order in which they are checked. [Validator.Validate] stops at the first
// that fails, [Validator.Explain] checks all, and a [Watch] checks those that can
// change.
//
// Several rules may share a name: they are one finding of Explain.
type rule struct {
	// A rule that can change says what it depends on. See [Validator.walk].
	state state
	time  *timeRule // for theTime

	// prove checks a rule of the token itself. The result does not change while the
	// key stays trusted. prove may wait for a new key or for its turn to check a
	// signature.
	prove func(ctx context.Context, v *Validator, p *parsed) error

	// For Explain: the name of the finding, the facts that the rule needs, the
	// facts that are known once it holds, and the values to show then.
	name         string
	needs, gives knowledge
	values       func(v *Validator, p *parsed) string
}

// state is what a rule depends on. It is not a function, because a call by way of a
// list would put its arguments on the heap.
type state uint8

const (
	theTime state = iota + 1 // the clock and the settings in force
	theView
	theTrust // in the key
	theIssuer
	theRevocations
)

// knowledge is the set of known facts about a token.
type knowledge uint8

const (
	theForm   knowledge = 1 << iota // the three parts
	theHeader                       // kid and alg
	theClaims                       // their types
	theValues                       // their ranges
	theKey                          // the key with the ID kid
	theSigner                       // a key that fits alg
)

// proofRules prove that a token was issued by an accepted issuer for the configured
// audience. The cheap rules come first.
var proofRules = []rule{
	{name: "form", prove: readForm, gives: theForm, values: func(_ *Validator, p *parsed) string {
		return fmt.Sprintf("%d bytes in three parts", len(p.raw))
	}},
	{name: "header", prove: readHeader, needs: theForm, gives: theHeader, values: func(_ *Validator, p *parsed) string {
		return fmt.Sprintf("alg %q, kid %q", p.alg, p.kid)
	}},
	{name: "claims", prove: readClaims, needs: theForm, gives: theClaims},
	{name: "claims", prove: checkValues, needs: theClaims, gives: theValues, values: func(*Validator, *parsed) string {
		return "all present, of the right types and in range"
	}},
	{name: "key", prove: findKey, needs: theHeader, gives: theKey},
	{name: "key", prove: checkAlgorithm, needs: theKey, gives: theSigner, values: func(_ *Validator, p *parsed) string {
		return p.key.alg + ", trusted"
	}},
	{name: "signature", prove: checkSignature, needs: theSigner, values: func(*Validator, *parsed) string { return "verifies" }},
	{name: "issuer", prove: checkIssuer, needs: theClaims, values: func(_ *Validator, p *parsed) string { return p.session.Issuer }},
	{name: "audience", prove: checkAudience, needs: theClaims, values: func(v *Validator, _ *parsed) string { return v.config.Audience }},
}

// formRules are the rules that need nothing but the token.
var formRules = proofRules[:4]

// timeRules depend on the clock and the settings in force.
var timeRules = []rule{
	{state: theTime, time: &notYetValid, needs: theValues},
	{state: theTime, time: &maximumDuration, needs: theValues},
	{state: theTime, time: &idleTimeout, needs: theValues},
	{state: theTime, time: &expired, needs: theValues},
}

// stateRules depend on the shared state and on time. They are checked each time a
// token is presented.
//
// The key is checked again: the signature was checked before the view was known to
// be current, and the view may only now show that the key was retired in an
// emergency.
var stateRules = slices.Concat(
	[]rule{
		{name: "view", state: theView},
		{name: "key", state: theTrust, needs: theSigner},
		{name: "issuer", state: theIssuer, needs: theClaims},
	},
	timeRules,
	[]rule{{name: "revoked", state: theRevocations, needs: theValues}},
)

// The state rules that a watch checks. It observes the lease itself, because a lease
// may be over for a while: see watches.look.
var (
	beginRules  = stateRules[1:]                 // when it begins: key, issuer, time, revocations
	reviewRules = beginRules[:len(beginRules)-1] // later: key, issuer, time; the cache reports revocations
)

// A moment is the state with which the rules are checked.
type moment struct {
	now     time.Time
	seconds UnixTime // now
	asked   uint64   // the generation of the revocations for which the source has answered, plus one; 0 for none

	// Read after the view was found current: the view may become current at any
	// time, and is so only with what it then holds.
	in      *settings.InForce
	keys    *KeySet
	issuers *IssuerSet
}

func (at *moment) readClock(v *Validator) {
	at.now = v.now()
	at.seconds = UnixTime(at.now.Unix())
}

func (at *moment) readState(v *Validator) {
	at.in, at.keys, at.issuers = v.config.Settings.Current(), v.config.Keys.Current(), v.issuers.Current()
}

// walk checks state rules in their order and returns the first refusal. It does no
// I/O: it returns the question errBehind or errNotCached if the state is not known.
func (v *Validator) walk(rules []rule, e *entry, at *moment) error {
	for i := range rules {
		r := &rules[i]
		switch r.state {
		case theTime:
			if r.time.violated(&e.session, at.in, at.seconds) {
				return r.time.err(&e.session, at.in, at.now)
			}
		case theView:
			if view := v.config.View; !view.Trusted(at.now) || e.session.Epoch > view.Epoch() {
				return errBehind
			}
			at.readState(v)
		case theTrust:
			if !e.trustedBy(at.keys) {
				return errKeyNotTrusted
			}
		case theIssuer:
			if at.issuers.Until(e.session.Issuer) <= at.seconds {
				return v.wrongIssuer()
			}
		case theRevocations:
			if err := e.revoked.Load(); err != nil {
				return err
			}
			// The generation is read before the cache: a revocation in between
			// changes it, so the stored result is not used the next time.
			if now := v.config.Revocations.Generation() + 1; e.good.Load() != now {
				if err := v.checkRevoked(e, now, at.asked == now); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// CheckTime applies only the rules that depend on time and settings. The error
// wraps [ErrNotYetValid], [ErrMaximumDuration], [ErrIdleTimeout] or [ErrExpired].
// It is for a caller that has just read the settings from the store and must not
// rely on a view; other callers use a [Validator].
func (s *Session) CheckTime(in *settings.InForce, now time.Time) error {
	seconds := UnixTime(now.Unix())
	for i := range timeRules {
		if t := timeRules[i].time; t.violated(s, in, seconds) {
			return t.err(s, in, now)
		}
	}
	return nil
}

// endsAt returns the first second at which time alone ends the session under the
// given settings.
func (s *Session) endsAt(in *settings.InForce) UnixTime {
	end := s.ExpiresAt
	for i := range timeRules {
		if t := timeRules[i].time; t.applies(s) {
			if at := t.end(s, in); at != 0 {
				end = min(end, at)
			}
		}
	}
	return end
}
