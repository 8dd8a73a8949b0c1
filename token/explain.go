package token

import (
	"context"
	"fmt"
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
	// Findings are the rules in the order of their checks. They include the rules
	// that Validate does not reach.
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

// Explain decides about a token like [Validator.Validate] and reports the outcome
// of each rule. Unlike the errors of Validate, an explanation quotes the token:
// show it only to the sender of the token or to an operator.
func (v *Validator) Explain(ctx context.Context, raw string) Explanation {
	_, err := v.validate(ctx, raw) // first, because it makes the view catch up if needed
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
		x.decided("claims", claimsErr, "all present, of the right types and in range")
	}
	x.Proven = x.proven()
	x.times(claimsErr == nil)
	x.revocations(claimsErr == nil)
	x.view(claimsErr == nil)
	return x.Explanation
}

// An explainer collects the findings.
type explainer struct {
	Explanation
	v   *Validator
	ctx context.Context
}

func (x *explainer) add(f Finding) { x.Findings = append(x.Findings, f) }

func (x *explainer) last() *Finding { return &x.Findings[len(x.Findings)-1] }

func (x *explainer) skipped(rule string) { x.add(Finding{Rule: rule, Outcome: NotChecked}) }

// decided adds the finding of a rule with the result err, and returns err.
func (x *explainer) decided(rule string, err error, detail string) error {
	switch reason := ReasonOf(err); {
	case err == nil:
		x.add(Finding{Rule: rule, Outcome: Holds, Detail: detail})
	case reason == ErrUnavailable:
		x.add(Finding{Rule: rule, Outcome: Unknown, Reason: reason, Detail: err.Error()})
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

// key finds the key. Validate has already made the view catch up if the key was
// unknown.
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
		_ = x.decided("key", fmt.Errorf("%w: no key with this ID is known; a newer key set can't be read now", ErrUnavailable), "")
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

// proven reports whether every rule so far holds.
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
			f.Outcome = NotChecked
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

// revocations checks each scope alone. It asks the source about evicted scopes, but
// only for a verified token.
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
				f.Outcome, f.Detail = NotChecked, "not in the cache, and the store is not asked for a token that isn't proven"
				x.add(f)
				continue
			case failure != nil:
				f.Outcome, f.Reason, f.Detail = Unknown, ErrUnavailable, failure.Error()
				x.add(f)
				continue
			}
			if before, complete = x.v.config.Revocations.Peek(scope); !complete {
				before = answer // evicted again already: use the maximum of all scopes
			}
		}
		f.Detail = fmt.Sprintf("the session's epoch is %s, and there is no such revocation", s.Epoch)
		if before > 0 {
			f.Detail = fmt.Sprintf("the session's epoch is %s, and sessions before %s are revoked", s.Epoch, before)
		}
		if s.Epoch < before {
			f.Outcome, f.Reason = Fails, ErrRevoked
		}
		x.add(f)
	}
}

// view adds how current the state is.
func (x *explainer) view(read bool) {
	view := x.v.config.View
	f := Finding{Rule: "view", Outcome: Holds, Detail: fmt.Sprintf("has all changes up to %s", view.Epoch())}
	switch {
	case !view.Trusted(x.v.now()):
		f.Outcome, f.Reason = Unknown, ErrUnavailable
		f.Detail += ", but the lease has expired"
	case read && x.Session.Epoch > view.Epoch():
		f.Detail += fmt.Sprintf(", and the token's epoch is %s", x.Session.Epoch)
		switch {
		case !x.Proven: // it did not make the view catch up
			f.Outcome = NotChecked
		case x.Verdict == ErrUnavailable:
			f.Outcome, f.Reason = Unknown, ErrUnavailable
		default:
			f.Outcome, f.Reason = Fails, ErrMalformed
		}
	}
	x.add(f)
}
