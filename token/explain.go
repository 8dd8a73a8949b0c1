package token

import (
	"context"
	"fmt"
	"time"

	"example.com/curfew/revocation"
)

// Explanation says of a token how each rule stands, for people.
type Explanation struct {
	// Verdict is what Validate says: the reason, or "" for a token that may be
	// used now. Err is its error.
	Verdict Reason
	Err     error
	// At is the time that the findings were made.
	At time.Time
	// Proven says that the signature, the issuer and the audience are right, so
	// that the session below is what the issuer said. Otherwise anybody may have
	// made it up.
	Proven bool
	// KeyID and Algorithm are from the header, "" if it cannot be read.
	KeyID, Algorithm string
	// Session is what the token says, or nil if it cannot be read.
	Session *Session
	// Findings are the rules in their order. All are looked at, also those that
	// Validate no longer comes to.
	Findings []Finding
}

// Finding says how one rule stands.
type Finding struct {
	// Rule is a word or two: "form", "signature", "idle_timeout", "revoked user".
	Rule    string
	Outcome Outcome
	// Reason is what a token is refused for that fails this rule alone. It is ""
	// if the rule does not fail, and ErrUnavailable if nobody can tell now.
	Reason Reason
	// Detail is what the rule rests on, in words and numbers. It may quote the
	// token.
	Detail string
	// Left is how long the rule goes on holding if nothing happens; zero if that
	// has no meaning.
	Left time.Duration
}

// Outcome is how a rule stands.
type Outcome string

// The outcomes.
const (
	Holds         Outcome = "holds"
	Fails         Outcome = "fails"
	DoesNotApply  Outcome = "does not apply"
	CannotBeTold  Outcome = "cannot be told"  // nobody can be asked now
	NotLookedInto Outcome = "not looked into" // an earlier rule failed, without which this one has no meaning
)

// Left returns how long the token can be used if nothing happens; zero if it
// cannot be used now.
func (e Explanation) Left() time.Duration {
	if e.Verdict != "" {
		return 0
	}
	var left time.Duration
	for _, f := range e.Findings {
		if f.Left > 0 && (left == 0 || f.Left < left) {
			left = f.Left
		}
	}
	return left
}

// Explain decides about a token like [Validator.Validate], and says of each rule
// whether it holds. Unlike the errors of Validate, an explanation quotes the
// token: show it to whoever presented the token, or to an operator.
func (v *Validator) Explain(ctx context.Context, raw string) Explanation {
	_, err := v.validate(ctx, raw) // first: it makes the view catch up if need be
	x := &explainer{v: v, ctx: ctx}
	x.Verdict, x.Err, x.At = ReasonOf(err), err, v.now()

	p := new(parsed)
	header, payload, formErr := p.readForm(raw)
	x.decided("form", formErr, fmt.Sprintf("%d bytes in three parts", len(raw)))

	headerErr := formErr
	if formErr == nil {
		headerErr = x.decided("header", malformed(p.readHeader(header)), "")
		x.KeyID, x.Algorithm = p.kid, p.alg
		x.last().Detail = fmt.Sprintf("alg %q, kid %q", p.alg, p.kid)
		if headerErr != nil {
			x.last().Detail = headerErr.Error()
		}
	} else {
		x.skipped("header")
	}

	key := x.key(p, headerErr == nil)
	x.signature(p, key)

	readErr := formErr
	if formErr == nil {
		if readErr = malformed(readClaims(payload, &p.session)); readErr == nil {
			x.Session = &p.session
		}
	}
	x.issuer(readErr == nil)
	claimsErr := readErr
	if formErr != nil {
		x.skipped("claims")
	} else {
		if claimsErr == nil {
			claimsErr = p.session.checkValues()
		}
		x.decided("claims", claimsErr, "all there, of the right types and in range")
	}
	x.Proven = x.proven()
	x.times(claimsErr == nil)
	x.revocations(claimsErr == nil)
	x.view(claimsErr == nil)
	return x.Explanation
}

// An explainer collects findings.
type explainer struct {
	Explanation
	v   *Validator
	ctx context.Context
}

func (x *explainer) add(f Finding) { x.Findings = append(x.Findings, f) }

func (x *explainer) last() *Finding { return &x.Findings[len(x.Findings)-1] }

func (x *explainer) skipped(rule string) { x.add(Finding{Rule: rule, Outcome: NotLookedInto}) }

// decided adds a rule that err has decided, and returns err.
func (x *explainer) decided(rule string, err error, detail string) error {
	switch reason := ReasonOf(err); {
	case err == nil:
		x.add(Finding{Rule: rule, Outcome: Holds, Detail: detail})
	case reason == ErrUnavailable:
		x.add(Finding{Rule: rule, Outcome: CannotBeTold, Reason: reason, Detail: err.Error()})
	default:
		x.add(Finding{Rule: rule, Outcome: Fails, Reason: reason, Detail: err.Error()})
	}
	return err
}

func malformed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// key looks for the key, which Validate has asked for if it was not known.
func (x *explainer) key(p *parsed, headerRead bool) *Key {
	if !headerRead {
		x.skipped("key")
		return nil
	}
	key := x.v.config.Keys.Current().Find(p.kid)
	switch {
	case key != nil:
		if x.decided("key", checkAlgorithm(p, key), key.alg+", trusted") != nil {
			return nil
		}
	case x.Verdict == ErrUnavailable:
		_ = x.decided("key", fmt.Errorf("%w: no key with this ID is known, but there may be one by now", ErrUnavailable), "")
	default:
		_ = x.decided("key", fmt.Errorf("%w: no key with this ID is trusted", ErrUnknownKey), "")
	}
	return key
}

func (x *explainer) signature(p *parsed, key *Key) {
	if key == nil {
		x.skipped("signature")
		return
	}
	_ = x.decided("signature", x.v.checkSignature(x.ctx, key, p), "verifies")
}

func (x *explainer) issuer(read bool) {
	if !read {
		x.skipped("issuer")
		x.skipped("audience")
		return
	}
	_ = x.decided("issuer", x.v.checkIssuer(x.Session), x.Session.Issuer)
	_ = x.decided("audience", x.v.checkAudience(x.Session), x.v.config.Audience)
}

// proven reports whether everything up to here holds.
func (x *explainer) proven() bool {
	for _, f := range x.Findings {
		if f.Outcome != Holds {
			return false
		}
	}
	return true
}

func (x *explainer) times(read bool) {
	in := x.v.config.Settings.Current()
	for _, r := range timeRules {
		f := Finding{Rule: string(r.reason), Outcome: Holds}
		switch {
		case !read:
			f.Outcome = NotLookedInto
		case !r.applies(x.Session):
			f.Outcome, f.Detail = DoesNotApply, "remember me"
		default:
			f.Detail = r.numbers(x.Session, in, x.At)
			if r.broken(x.Session, in, x.At.Unix()) {
				f.Outcome, f.Reason = Fails, r.reason
			} else if end := r.end(x.Session, in); end != 0 {
				f.Left = end.Time().Sub(x.At)
			}
		}
		x.add(f)
	}
}

// revocations looks at each scope alone. What the cache has forgotten is asked
// for, but only on behalf of a token that is proven.
func (x *explainer) revocations(read bool) {
	s := x.Session
	scopes := []revocation.Scope{revocation.Everyone(), revocation.Remembered(), {Kind: revocation.KindUser}, {Kind: revocation.KindSession}}
	if !read {
		for _, scope := range scopes {
			x.skipped("revoked " + string(scope.Kind))
		}
		return
	}
	scopes[2].ID, scopes[3].ID = s.Subject, s.ID
	var answer revocation.Epoch
	var failure error
	asked := false
	for _, scope := range scopes {
		f := Finding{Rule: "revoked " + string(scope.Kind), Outcome: Holds}
		if scope.Kind == revocation.KindRemembered && !s.RememberMe {
			f.Outcome, f.Detail = DoesNotApply, "not remember me"
			x.add(f)
			continue
		}
		before, complete := x.v.config.Revocations.Peek(scope)
		if !complete && s.Epoch >= before {
			if !asked && x.Proven {
				asked = true
				answer, _, failure = x.v.config.Revocations.Ask(x.ctx, s.Subject, s.ID, s.RememberMe)
			}
			switch {
			case !asked:
				f.Outcome, f.Detail = NotLookedInto, "the cache does not know, and the token does not prove enough to ask for it"
				x.add(f)
				continue
			case failure != nil:
				f.Outcome, f.Reason, f.Detail = CannotBeTold, ErrUnavailable, failure.Error()
				x.add(f)
				continue
			}
			if before, complete = x.v.config.Revocations.Peek(scope); !complete {
				before = answer // forgotten again at once: the highest of all scopes has to do
			}
		}
		f.Detail = fmt.Sprintf("the session is from %s, and this was never revoked", s.Epoch)
		if before > 0 {
			f.Detail = fmt.Sprintf("the session is from %s, and those from before %s are revoked", s.Epoch, before)
		}
		if s.Epoch < before {
			f.Outcome, f.Reason = Fails, ErrRevoked
		}
		x.add(f)
	}
}

// view says how current all of the above is.
func (x *explainer) view(read bool) {
	view := x.v.config.View
	f := Finding{Rule: "view", Outcome: Holds, Detail: fmt.Sprintf("every change up to %s is known", view.Epoch())}
	switch {
	case !view.Trusted(x.v.now()):
		f.Outcome, f.Reason = CannotBeTold, ErrUnavailable
		f.Detail += ", but the lease has run out"
	case read && x.Session.Epoch > view.Epoch():
		f.Detail += fmt.Sprintf(", and the token says that it is from %s", x.Session.Epoch)
		switch {
		case !x.Proven: // it caused no question to the store
			f.Outcome = NotLookedInto
		case x.Verdict == ErrUnavailable:
			f.Outcome, f.Reason = CannotBeTold, ErrUnavailable
		default:
			f.Outcome, f.Reason = Fails, ErrMalformed
		}
	}
	x.add(f)
}
