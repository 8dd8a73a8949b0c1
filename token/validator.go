package token

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"example.com/curfew/internal/uses"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// Leeway is how far a token's dates may lie in the future, to allow for clocks that
// differ. The end of a session has no leeway.
const Leeway = 60 * time.Second

// Config configures a [Validator]. The fields up to View are required, except that
// one of Issuer and Issuers is enough.
type Config struct {
	// Issuer is the value that iss must equal. Required, unless Issuers is set.
	Issuer string
	// Issuers supplies the issuers of which iss must equal one. Nil: only Issuer.
	// Else Issuer is not used.
	Issuers IssuerSource
	// Audience is the value that aud must contain. Required.
	Audience string
	// Keys supplies the keys that are trusted now. Required.
	Keys KeySource
	// Settings supplies the settings in force now. Required.
	Settings settings.Source
	// Revocations is the cache of revocations that View keeps current. Required.
	Revocations *revocation.Cache
	// View says how current Keys, Settings and Revocations are. Required.
	View View

	// UnknownKeyInterval is the minimum time between two catch-ups caused by
	// unknown key IDs. Zero or less means 5 s.
	UnknownKeyInterval time.Duration
	// RememberedBytes is the maximum memory in bytes for verified tokens, about 700
	// bytes each, and more with groups. Zero means 64 MiB. Less than 64 KiB, or a
	// negative number, disables the cache. A cached token only saves the signature
	// check: every other rule is checked each time.
	RememberedBytes int
	// Observe, if not nil, is called after every decision with the reason ("" for
	// an accepted token) and the time that the decision took. It must return
	// quickly and be safe for concurrent use.
	Observe func(reason Reason, took time.Duration)
	// OnUse, if not nil, is called when a token is accepted, but not again within five
	// minutes for a token that is cached: the checks between cost nothing more. A
	// program can so record when sessions were last used. The session is shared: do
	// not modify it. at is the time of the decision. OnUse must return quickly and be
	// safe for concurrent use.
	OnUse func(session *Session, at time.Time)
	// Now returns the current time, with a monotonic reading. Nil means time.Now.
	Now func() time.Time
}

func (c Config) unknownKeyInterval() time.Duration {
	if c.UnknownKeyInterval <= 0 {
		return 5 * time.Second
	}
	return c.UnknownKeyInterval
}

func (c Config) rememberedBytes() int {
	if c.RememberedBytes == 0 {
		return 64 << 20
	}
	return c.RememberedBytes
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// Validator decides whether a token is accepted. Every entry point uses it, so that
// all apply the same rules. It is safe for concurrent use.
type Validator struct {
	config   Config
	issuers  IssuerSource
	now      func() time.Time
	seen     *seen
	checking chan struct{} // has room for the maximum number of concurrent signature checks

	asked       atomic.Int64 // when an unknown key last caused a catch-up: ns since start
	askedIssuer atomic.Int64 // the same of an issuer that is not accepted
	start       time.Time

	watches watches
}

// NewValidator returns a validator. It returns an error if a required field is
// empty. A check therefore cannot be switched off by omitting its field.
func NewValidator(config Config) (*Validator, error) {
	for _, missing := range []struct {
		name  string
		empty bool
	}{
		{"Issuer", config.Issuer == "" && config.Issuers == nil},
		{"Audience", config.Audience == ""},
		{"Keys", config.Keys == nil},
		{"Settings", config.Settings == nil},
		{"Revocations", config.Revocations == nil},
		{"View", config.View == nil},
	} {
		if missing.empty {
			return nil, fmt.Errorf("token: Config.%s is required", missing.name)
		}
	}
	v := &Validator{config: config, now: config.now(), issuers: config.Issuers}
	if v.issuers == nil {
		v.issuers = fixedIssuer{&IssuerSet{issuer: config.Issuer}}
	}
	// One processor stays free for tokens that are in the cache, so that a flood of
	// forged tokens does not delay them.
	v.checking = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	v.seen = newSeen(config.rememberedBytes())
	v.start = v.now()
	v.asked.Store(-int64(config.unknownKeyInterval()))
	v.askedIssuer.Store(-int64(config.unknownKeyInterval()))
	v.watches.init(v)
	return v, nil
}

// Close ends every [Watch] and waits for the goroutine that serves them. Validate
// continues to work after Close. A validator that has never watched a session needs
// no Close.
func (v *Validator) Close() { v.watches.close() }

// Validate returns the session in raw if the token is accepted. Otherwise the error
// wraps the [Reason]; [ReasonOf] extracts it. The session is shared: do not modify
// it.
//
// Validate does no I/O, with three exceptions: the view's lease has run out, the
// token's epoch or key ID is newer than the view, or the cache is partial and has
// evicted the session. It then waits for the answer, until ctx ends at the latest.
func (v *Validator) Validate(ctx context.Context, raw string) (*Session, error) {
	e, err := v.observed(ctx, raw)
	if err != nil {
		return nil, err
	}
	return &e.session, nil
}

// observed calls validate and reports the decision to Config.Observe.
func (v *Validator) observed(ctx context.Context, raw string) (*entry, error) {
	if v.config.Observe == nil {
		return v.validate(ctx, raw)
	}
	began := v.now()
	e, err := v.validate(ctx, raw)
	v.config.Observe(ReasonOf(err), v.now().Sub(began))
	return e, err
}

// validate also caches tokens that have ended, so that a client that keeps sending
// one does not cost a signature check each time.
func (v *Validator) validate(ctx context.Context, raw string) (*entry, error) {
	e := v.seen.get(raw)
	known := e != nil
	if !known {
		var err error
		if e, err = v.verify(ctx, raw); err != nil {
			return nil, err
		}
	}
	now, err := v.decide(ctx, e)
	switch {
	case err == errKeyNotTrusted: //nolint:errorlint // never wrapped
		if known {
			v.seen.forget(raw) // the verification is no longer valid
		}
	case !known:
		v.seen.add(raw, e)
	}
	if err != nil {
		return nil, err
	}
	v.noteUse(e, now)
	return e, nil
}

// noteUse calls Config.OnUse for an accepted token if that is due.
func (v *Validator) noteUse(e *entry, now time.Time) {
	if v.config.OnUse == nil {
		return
	}
	at, last := now.UnixNano(), e.noted.Load()
	// A clock that was set back by less than that is left to catch up.
	if due := at-last >= noteEvery || last-at >= noteEvery; due && e.noted.CompareAndSwap(last, at) {
		v.config.OnUse(&e.session, now)
	}
}

const noteEvery = int64(uses.NoteEvery)

// verify checks the rules of the token itself.
func (v *Validator) verify(ctx context.Context, raw string) (*entry, error) {
	p := &parsed{raw: raw}
	if err := p.prove(ctx, v, proofRules); err != nil {
		return nil, err
	}
	p.session.KeyID = p.key.id
	p.session.Issuer = v.issuers.Current().kept(p.session.Issuer)
	return &entry{session: p.session, key: p.key}, nil
}

// findKey finds the key with the ID kid. If the key is unknown the view may be
// behind, so findKey makes it catch up, but at most once per interval: an attacker
// can invent key IDs.
func findKey(ctx context.Context, v *Validator, p *parsed) error {
	if p.key = v.config.Keys.Current().Find(p.kid); p.key != nil {
		return nil
	}
	last, now := v.asked.Load(), int64(v.now().Sub(v.start))
	if now-last >= int64(v.config.unknownKeyInterval()) && v.asked.CompareAndSwap(last, now) {
		if err := v.catchUp(ctx); err != nil {
			return err
		}
		if p.key = v.config.Keys.Current().Find(p.kid); p.key != nil {
			return nil
		}
	}
	if !v.config.View.Trusted(v.now()) {
		return errKeyNotKnown
	}
	return errUnknownKey
}

func checkAlgorithm(_ context.Context, _ *Validator, p *parsed) error {
	if p.alg != p.key.alg {
		return fmt.Errorf("%w: alg is not the key's own, %s", ErrMalformed, p.key.alg)
	}
	return nil
}

func checkSignature(ctx context.Context, v *Validator, p *parsed) error {
	select {
	case v.checking <- struct{}{}:
		defer func() { <-v.checking }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return p.key.verify(p.signed, p.signature)
}

func checkAudience(_ context.Context, v *Validator, p *parsed) error {
	if !slices.Contains(p.session.Audience, v.config.Audience) {
		return fmt.Errorf("%w: want %q", ErrWrongAudience, v.config.Audience)
	}
	return nil
}

func (v *Validator) catchUp(ctx context.Context) error {
	err := v.config.View.CatchUp(ctx)
	if err != nil && (ReasonOf(err) != ErrUnavailable || !errors.Is(err, ErrUnavailable)) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err) // ReasonOf returns the first reason
	}
	return err
}

// decide checks the rules of the shared state for a verified token. It asks for
// unknown facts and then checks all rules again, because that takes time. It also
// returns the time of the decision.
func (v *Validator) decide(ctx context.Context, e *entry) (time.Time, error) {
	var at moment
	for caughtUp := false; ; {
		at.readClock(v)
		question := v.walk(stateRules, e, &at)
		if question == nil || !isQuestion(question) {
			return at.now, question
		}
		if err := v.answer(ctx, e, question, &at, &caughtUp); err != nil {
			return at.now, err
		}
	}
}

// The questions of the state rules. They are not refusals and never leave the
// package.
var (
	errBehind    = errors.New("the view is not current")
	errNotCached = errors.New("the cache has evicted the session")
)

func isQuestion(err error) bool { return err == errBehind || err == errNotCached } //nolint:errorlint // never wrapped

// answer asks the store the question of a state rule. It returns nil if the rules
// are to be checked again, and a refusal if the answer is one, or if there is none.
// caughtUp says that the view is as current as it can be.
func (v *Validator) answer(ctx context.Context, e *entry, question error, at *moment, caughtUp *bool) error {
	s := &e.session
	switch {
	case question == errNotCached: //nolint:errorlint // never wrapped
		before, generation, err := v.config.Revocations.Ask(ctx, s.Subject, s.ID, s.RememberMe)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if s.Epoch < before {
			return e.revokedAt(before)
		}
		at.asked, *caughtUp = generation+1, false // the lease may have run out meanwhile
		return nil
	case !*caughtUp:
		*caughtUp = true
		return v.catchUp(ctx)
	case !v.config.View.Trusted(v.now()):
		return errLeaseOver
	case s.Epoch > v.config.View.Epoch():
		return errEpochAhead
	default:
		return nil // a change has come in the meantime
	}
}

// checkRevoked looks into the cache. asked reports that the source has answered for
// this generation of it, and that the answer was no revocation.
func (v *Validator) checkRevoked(e *entry, generation uint64, asked bool) error {
	s := &e.session
	before, complete := v.config.Revocations.Known(s.Subject, s.ID, s.RememberMe)
	switch {
	case s.Epoch < before:
		return e.revokedAt(before)
	case !complete && !asked:
		return errNotCached
	}
	e.good.Store(generation)
	return nil
}

var (
	errUnknownKey    = fmt.Errorf("%w: no trusted key has the token's key ID", ErrUnknownKey)
	errKeyNotKnown   = fmt.Errorf("%w: the key ID is not known, and the view's lease has run out", ErrUnavailable)
	errKeyNotTrusted = fmt.Errorf("%w: the key is no longer trusted", ErrUnknownKey)
	errLeaseOver     = fmt.Errorf("%w: the view's lease has run out", ErrUnavailable)
	errEpochAhead    = fmt.Errorf("%w: epoch is ahead of the store's clock", ErrMalformed)
	errClosed        = fmt.Errorf("%w: the validator is closed", ErrUnavailable)
)

// revokedAt stores that the token is revoked. No later change makes it valid again.
func (e *entry) revokedAt(before revocation.Epoch) error {
	err := &RevokedError{Before: before}
	e.revoked.Store(err)
	return err
}

// RevokedError is the error for a revoked session. It wraps [ErrRevoked] and names
// the revocation, so that a caller can look up its author.
type RevokedError struct {
	Before revocation.Epoch // sessions with a lower epoch are revoked
}

// Error names the time before which sessions are revoked.
func (e *RevokedError) Error() string {
	return fmt.Sprintf("%v: sessions from before %s are revoked", ErrRevoked, e.Before)
}

// Unwrap returns [ErrRevoked].
func (e *RevokedError) Unwrap() error { return ErrRevoked }

func revokedError(before revocation.Epoch) error { return &RevokedError{Before: before} }
