package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"example.com/curfew/revocation"
)

// Explanation reports the outcome of each rule for a token, for display.
type Explanation struct {
	// Verdict is the decision of Validate: the reason, or "" for an accepted token.
	// Err is its error.
	Verdict Reason
	Err     error
	// At is the time at which the rules were checked.
	At time.Time
	// Proven reports that the signature, the issuer and the audience are right, so
	// that Session comes from the issuer. Otherwise the contents may be forged.
	Proven bool
	// KeyID and Algorithm are from the header, or "" if it cannot be read.
	KeyID, Algorithm string
	// Session holds the claims of the token, or nil if they cannot be read.
	Session *Session
	// Findings are all rules, those that Validate does not reach too, in a fixed
	// order.
	Findings []Finding
}

// Finding is the outcome of one rule.
type Finding struct {
	// Rule is one or two words: "form", "signature", "idle_timeout", "revoked
	// user".
	Rule    string
	Outcome Outcome
	// Reason is the reason for which Validate would refuse the token if only this
	// rule failed. It is "" if the rule does not fail, and ErrUnavailable if the
	// outcome is unknown now.
	Reason Reason
	// Detail gives the values that decide the rule. It may quote the token.
	Detail string
	// Left is how long the rule continues to hold if nothing changes. Zero means
	// that it does not apply.
	Left time.Duration
}

// Outcome is the outcome of a rule.
type Outcome string

// The outcomes of a rule.
const (
	Holds        Outcome = "holds"
	Fails        Outcome = "fails"
	DoesNotApply Outcome = "does not apply"
	Unknown      Outcome = "unknown"     // the store cannot be reached now
	NotChecked   Outcome = "not checked" // an earlier rule failed that this rule depends on
)

// Left returns how long the token stays valid if nothing changes; zero if it is not
// valid now.
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

// findings are the names of the findings in the order of display. The view comes
// last, because it qualifies all others.
var findings = []string{
	"form", "header", "key", "signature", "issuer", "audience", "claims",
	string(ErrNotYetValid), string(ErrMaximumDuration), string(ErrIdleTimeout), string(ErrExpired),
	"revoked everyone", "revoked remembered", "revoked user", "revoked session", "view",
}

const proofFindings = 7 // the first of them, which are about the token itself

// Explain decides about a token like [Validator.Validate] and reports the outcome
// of each rule. Unlike the errors of Validate, an explanation quotes the token:
// show it only to the sender of the token or to an operator.
func (v *Validator) Explain(ctx context.Context, raw string) Explanation {
	x := &explainer{v: v, ctx: ctx, p: &parsed{raw: raw}}
	for _, name := range findings {
		x.Findings = append(x.Findings, Finding{Rule: name, Outcome: NotChecked})
	}
	for i := range proofRules {
		x.prove(&proofRules[i])
	}
	x.KeyID, x.Algorithm = x.p.kid, x.p.alg
	if x.known&theClaims != 0 {
		x.Session = &x.p.session
	}
	e := &entry{session: x.p.session, key: x.p.key}
	x.at.readClock(v)
	for i := range stateRules {
		x.decide(stateRules[i:i+1], e)
	}
	if x.At.IsZero() {
		x.At = x.at.now
	}
	x.Proven = x.proven()
	x.Verdict = ReasonOf(x.Err)
	return x.Explanation
}

// An explainer checks every rule and collects the findings.
type explainer struct {
	Explanation
	v        *Validator
	ctx      context.Context // of the one call that makes it
	p        *parsed
	known    knowledge
	at       moment
	caughtUp bool
}

func (x *explainer) finding(name string) *Finding {
	return &x.Findings[slices.Index(findings, name)]
}

// refused records a refusal or that the outcome is unknown. The first one is the
// verdict, as in Validate.
func (x *explainer) refused(f *Finding, err error) {
	if x.Err == nil {
		x.Err = err
	}
	f.Reason, f.Detail, f.Left = ReasonOf(err), err.Error(), 0
	if f.Outcome = Fails; f.Reason == ErrUnavailable {
		f.Outcome = Unknown
	}
}

func (x *explainer) prove(r *rule) {
	if x.known&r.needs != r.needs {
		return
	}
	f := x.finding(r.name)
	if err := r.prove(x.ctx, x.v, x.p); err != nil {
		x.refused(f, err)
		return
	}
	x.known |= r.gives
	if r.values != nil {
		f.Outcome, f.Detail = Holds, r.values(x.v, x.p)
	}
}

// proven reports whether every rule about the token itself holds. The store is asked
// only for such a token.
func (x *explainer) proven() bool {
	return !slices.ContainsFunc(x.Findings[:proofFindings], func(f Finding) bool { return f.Outcome != Holds })
}

// decide checks one rule, in a list.
func (x *explainer) decide(rules []rule, e *entry) {
	r := &rules[0]
	if x.known&r.needs != r.needs {
		return
	}
	if r.state == theTime {
		x.time(r.time, &e.session)
		return
	}
	err := x.v.walk(rules, e, &x.at)
	for isQuestion(err) && x.proven() {
		if err = x.v.answer(x.ctx, e, err, &x.at, &x.caughtUp); err == nil {
			x.at.readClock(x.v)
			err = x.v.walk(rules, e, &x.at)
		}
	}
	switch r.state { // theTime is above
	case theView:
		x.at.readState(x.v) // current or not
		x.view(err)
	case theRevocations:
		x.revoked(e, err)
	default:
		if err != nil {
			x.refused(x.finding(r.name), err)
			return
		}
		if until := x.at.issuers.Until(e.session.Issuer); r.state == theIssuer && until < latestDate {
			f := x.finding(r.name)
			f.Detail, f.Left = fmt.Sprintf("%s, a former issuer", e.session.Issuer), until.Time().Sub(x.at.now)
		}
	}
}

func (x *explainer) time(r *timeRule, s *Session) {
	f, at := x.finding(string(r.reason)), x.at
	x.At = at.now
	f.Outcome, f.Detail = Holds, r.explain(s, at.in, at.now)
	switch {
	case !r.applies(s):
		f.Outcome, f.Detail = DoesNotApply, "remember me"
	case r.violated(s, at.in, at.seconds):
		detail := f.Detail
		x.refused(f, r.err(s, at.in, at.now))
		f.Detail = detail
	default:
		if end := r.end(s, at.in); end != 0 {
			f.Left = end.Time().Sub(at.now)
		}
	}
}

// view adds how current the state is.
func (x *explainer) view(err error) {
	view, f := x.v.config.View, x.finding("view")
	f.Outcome = Holds
	detail := fmt.Sprintf("has all changes up to %s", view.Epoch())
	trusted, ahead := view.Trusted(x.v.now()), x.known&theValues != 0 && x.p.session.Epoch > view.Epoch()
	switch {
	case isQuestion(err) && !trusted: // not proven: it does not make the view catch up
		f.Outcome, f.Reason = Unknown, ErrUnavailable
	case isQuestion(err) && ahead:
		f.Outcome = NotChecked
	case err != nil && !isQuestion(err):
		x.refused(f, err)
	}
	switch {
	case !trusted:
		detail += ", but the lease has expired"
	case ahead:
		detail += fmt.Sprintf(", and the token's epoch is %s", x.p.session.Epoch)
	}
	f.Detail = detail
}

// revoked adds a finding for each scope. err is the outcome of the rule for all of
// them.
func (x *explainer) revoked(e *entry, err error) {
	if err != nil && !isQuestion(err) && x.Err == nil {
		x.Err = err
	}
	s := &e.session
	for _, scope := range []revocation.Scope{revocation.Everyone(), revocation.Remembered(), revocation.User(s.Subject), revocation.Session(s.ID)} {
		f := x.finding("revoked " + string(scope.Kind))
		if scope.Kind == revocation.KindRemembered && !s.RememberMe {
			f.Outcome, f.Detail = DoesNotApply, "not remember me"
			continue
		}
		before, complete := x.v.config.Revocations.Peek(scope)
		if !complete && s.Epoch >= before {
			switch {
			case !x.proven():
				f.Outcome, f.Detail = NotChecked, "not in the cache, and the store is not asked for a token that isn't proven"
				continue
			case ReasonOf(err) == ErrRevoked: // another scope is revoked, or the answer was evicted again
				var failure error
				if before, _, failure = x.v.config.Revocations.Ask(x.ctx, s.Subject, s.ID, false); failure != nil {
					err = fmt.Errorf("%w: %w", ErrUnavailable, failure)
				}
			}
			if ReasonOf(err) == ErrUnavailable {
				f.Outcome, f.Reason, f.Detail = Unknown, ErrUnavailable, err.Error()
				continue
			}
		}
		f.Outcome, f.Detail = Holds, fmt.Sprintf("the session's epoch is %s, and there is no such revocation", s.Epoch)
		if before > 0 {
			f.Detail = fmt.Sprintf("the session's epoch is %s, and sessions before %s are revoked", s.Epoch, before)
		}
		// A store that forgets revocations ends every session from before them: no
		// user did that.
		if scope.Kind == revocation.KindEveryone && s.Epoch < before && before.Time().Before(x.at.now.Add(-x.at.in.MaximumSessionDuration)) {
			f.Detail = fmt.Sprintf("the session's epoch is %s, which is older than any session can be", s.Epoch)
		}
		if s.Epoch < before {
			f.Outcome, f.Reason = Fails, ErrRevoked
		}
	}
}
