package token

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

// Leeway is how far in the future a token's dates may lie, for clocks that
// differ. There is no other leeway: none where a session ends.
const Leeway = 60 * time.Second

// Config configures a [Validator]. The first six fields are required.
type Config struct {
	// Issuer is what iss must equal.
	Issuer string
	// Audience is what aud must contain.
	Audience string
	// Keys are the keys that are trusted now.
	Keys KeySource
	// Settings are the settings in force now.
	Settings settings.Source
	// Revocations is the cache of revocations that View keeps current.
	Revocations *revocation.Cache
	// View says how current the three above are.
	View View

	// UnknownKeyInterval is the least time between two questions to the store
	// because of key IDs that are not known. Zero or less means 5 s.
	UnknownKeyInterval time.Duration
	// RememberedBytes bounds the memory for tokens that were proven: some 650 bytes
	// each. Zero means 64 MiB; less than 64 KiB, or a negative number, means that
	// nothing is remembered. What is remembered saves the signature check alone:
	// everything else is checked each time.
	RememberedBytes int
	// Observe, if not nil, is told of every decision: the reason ("" for a good
	// token) and the time it took. It must be quick and safe for concurrent use.
	Observe func(reason Reason, took time.Duration)
	// Now returns the time, with a monotonic reading. Nil means time.Now.
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

// Validator decides whether a token is to be accepted. It is the one function
// that does: every door goes through it. It is safe for concurrent use.
type Validator struct {
	config   Config
	now      func() time.Time
	seen     *seen
	checking chan struct{} // one element for each signature check that may run at a time

	asked atomic.Int64 // when an unknown key last made the view catch up: ns since started
	start time.Time

	watches watches
}

// NewValidator returns a validator. It is an error to leave a required field
// empty: a check that is not wanted cannot be switched off by forgetting it.
func NewValidator(config Config) (*Validator, error) {
	for _, missing := range []struct {
		name  string
		empty bool
	}{
		{"Issuer", config.Issuer == ""},
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
	v := &Validator{config: config, now: config.now()}
	// One processor is left to whoever presents a token that was seen before, so
	// that a flood of forged ones starves nobody.
	v.checking = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	v.seen = newSeen(config.rememberedBytes())
	v.start = v.now()
	v.asked.Store(-int64(config.unknownKeyInterval()))
	v.watches.init(v)
	return v, nil
}

// Close ends every [Watch] and waits for the goroutine that serves them. Validate
// goes on working. A validator that has never watched a session needs no Close.
func (v *Validator) Close() { v.watches.close() }

// Validate returns the session that raw carries if it may be used now. Otherwise
// the error wraps the [Reason]; [ReasonOf] extracts it. The session is shared: do
// not modify it.
//
// Validate does no I/O, but for three cases: the view's lease has run out, the
// token knows of changes that the view does not, or the cache is partial and has
// forgotten the session. It then waits for the answer, no longer than ctx allows.
func (v *Validator) Validate(ctx context.Context, raw string) (*Session, error) {
	e, err := v.observed(ctx, raw)
	if err != nil {
		return nil, err
	}
	return &e.session, nil
}

// observed is validate, and reports the decision to Config.Observe.
func (v *Validator) observed(ctx context.Context, raw string) (*entry, error) {
	if v.config.Observe == nil {
		return v.validate(ctx, raw)
	}
	began := v.now()
	e, err := v.validate(ctx, raw)
	v.config.Observe(ReasonOf(err), v.now().Sub(began))
	return e, err
}

// ValidateRemembered is Validate for a token that this validator remembers and
// accepts. It returns nil for every other, having decided nothing: ask Validate
// then. It is for doors that take a shorter way when there is no question left.
func (v *Validator) ValidateRemembered(ctx context.Context, raw string) *Session {
	e := v.seen.get(raw)
	if e == nil {
		return nil
	}
	if v.config.Observe == nil {
		if v.decide(ctx, e) != nil {
			return nil
		}
		return &e.session
	}
	began := v.now()
	if v.decide(ctx, e) != nil {
		return nil
	}
	v.config.Observe("", v.now().Sub(began))
	return &e.session
}

// validate also remembers tokens that are over, so that a client that goes on
// presenting one costs no signature check each time.
func (v *Validator) validate(ctx context.Context, raw string) (*entry, error) {
	e := v.seen.get(raw)
	known := e != nil
	if !known {
		var err error
		if e, err = v.verify(ctx, raw); err != nil {
			return nil, err
		}
	}
	err := v.decide(ctx, e)
	switch {
	case err == errKeyNotTrusted: //nolint:errorlint // never wrapped
		if known {
			v.seen.forget(raw) // nothing about it is proven any longer
		}
	case !known:
		v.seen.add(raw, e)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// verify proves that raw is a token of this issuer for this audience, signed with
// key. What it proves does not change with time, as long as the key stays trusted.
func (v *Validator) verify(ctx context.Context, raw string) (*entry, error) {
	p, err := parse(raw)
	if err != nil {
		return nil, err
	}
	key, err := v.find(ctx, p.kid)
	if err != nil {
		return nil, err
	}
	if err := checkAlgorithm(p, key); err != nil {
		return nil, err
	}
	if err := v.checkSignature(ctx, key, p); err != nil {
		return nil, err
	}
	if err := v.checkIssuer(&p.session); err != nil {
		return nil, err
	}
	if err := v.checkAudience(&p.session); err != nil {
		return nil, err
	}
	p.session.KeyID = key.id
	p.session.Issuer = v.config.Issuer // equal, and kept once
	return &entry{session: p.session, key: key}, nil
}

func checkAlgorithm(p *parsed, key *Key) error {
	if p.alg != key.alg {
		return fmt.Errorf("%w: alg is not the key's own, %s", ErrMalformed, key.alg)
	}
	return nil
}

func (v *Validator) checkIssuer(s *Session) error {
	if s.Issuer != v.config.Issuer {
		return fmt.Errorf("%w: want %q", ErrWrongIssuer, v.config.Issuer)
	}
	return nil
}

func (v *Validator) checkAudience(s *Session) error {
	if !slices.Contains(s.Audience, v.config.Audience) {
		return fmt.Errorf("%w: want %q", ErrWrongAudience, v.config.Audience)
	}
	return nil
}

func (v *Validator) checkSignature(ctx context.Context, key *Key, p *parsed) error {
	select {
	case v.checking <- struct{}{}:
		defer func() { <-v.checking }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return key.verify(p.signed, p.signature)
}

// find returns the key with the ID kid. If there is none the view may be behind:
// it catches up, but no more often than once an interval, since anybody can make
// up key IDs.
func (v *Validator) find(ctx context.Context, kid string) (*Key, error) {
	if k := v.config.Keys.Current().Find(kid); k != nil {
		return k, nil
	}
	last, now := v.asked.Load(), int64(v.now().Sub(v.start))
	if now-last >= int64(v.config.unknownKeyInterval()) && v.asked.CompareAndSwap(last, now) {
		if err := v.catchUp(ctx); err != nil {
			return nil, err
		}
		if k := v.config.Keys.Current().Find(kid); k != nil {
			return k, nil
		}
	}
	if !v.config.View.Trusted(v.now()) {
		return nil, fmt.Errorf("%w: the key ID is not known, and the view's lease has run out", ErrUnavailable)
	}
	return nil, ErrUnknownKey
}

func (v *Validator) catchUp(ctx context.Context) error {
	err := v.config.View.CatchUp(ctx)
	if err != nil && (ReasonOf(err) != ErrUnavailable || !errors.Is(err, ErrUnavailable)) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err) // the first reason is the one that counts
	}
	return err
}

// decide applies the rules that change with time, keys, settings and revocations
// to a token that is proven.
func (v *Validator) decide(ctx context.Context, e *entry) error {
	s, view, revocations := &e.session, v.config.View, v.config.Revocations
	var answered uint64 // the generation, plus one, for which the source has answered
	for {
		now := v.now()
		if !view.Trusted(now) || s.Epoch > view.Epoch() {
			if err := v.catchUp(ctx); err != nil {
				return err
			}
			if now = v.now(); !view.Trusted(now) {
				return errLeaseOver
			}
			if s.Epoch > view.Epoch() {
				return fmt.Errorf("%w: epoch is ahead of the store's clock", ErrMalformed)
			}
		}
		// The signature was checked before the view was known to be current: the
		// key may have been retired in an emergency that is only seen now.
		if !e.trustedBy(v.config.Keys.Current()) {
			return errKeyNotTrusted
		}
		if err := s.CheckTime(v.config.Settings.Current(), now); err != nil {
			return err
		}
		if err := e.revoked.Load(); err != nil {
			return err
		}
		// The generation is read before the question: a revocation that comes in
		// between makes the answer count for nothing the next time.
		generation := revocations.Generation() + 1
		if e.good.Load() == generation {
			return nil
		}
		before, complete := revocations.Known(s.Subject, s.ID, s.RememberMe)
		if s.Epoch < before {
			return e.revokedAt(before)
		}
		if complete || answered == generation {
			e.good.Store(generation)
			return nil
		}
		before, asOf, err := revocations.Ask(ctx, s.Subject, s.ID, s.RememberMe)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if s.Epoch < before {
			return e.revokedAt(before)
		}
		// Asking took time: once more through the rules that time decides.
		answered = asOf + 1
	}
}

var (
	errLeaseOver     = fmt.Errorf("%w: the view's lease has run out", ErrUnavailable)
	errKeyNotTrusted = fmt.Errorf("%w: the key is no longer trusted", ErrUnknownKey)
	errClosed        = fmt.Errorf("%w: the validator is closed", ErrUnavailable)
)

// standing decides about a proven token by what is known here, without I/O and
// without the lease. If certain is false the source of a partial cache has to be
// asked.
func (v *Validator) standing(e *entry) (err error, certain bool) { //nolint:revive,staticcheck // the error is the answer, certain qualifies it
	s, revocations := &e.session, v.config.Revocations
	if !e.trustedBy(v.config.Keys.Current()) {
		return errKeyNotTrusted, true
	}
	if err := s.CheckTime(v.config.Settings.Current(), v.now()); err != nil {
		return err, true
	}
	generation := revocations.Generation() + 1
	if e.good.Load() == generation {
		return nil, true
	}
	before, complete := revocations.Known(s.Subject, s.ID, s.RememberMe)
	if s.Epoch < before {
		return e.revokedAt(before), true
	}
	return nil, complete
}

// revokedAt remembers that the token is revoked, which no later change undoes.
func (e *entry) revokedAt(before revocation.Epoch) error {
	err := &RevokedError{Before: before}
	e.revoked.Store(err)
	return err
}

// RevokedError is the error about a session that was revoked: it wraps
// [ErrRevoked], and names the revocation, so that one can look up whose it was.
type RevokedError struct {
	Before revocation.Epoch // sessions with a lower epoch are revoked
}

// Error says from before when sessions are revoked.
func (e *RevokedError) Error() string {
	return fmt.Sprintf("%v: sessions from before %s are revoked", ErrRevoked, e.Before)
}

// Unwrap returns [ErrRevoked].
func (e *RevokedError) Unwrap() error { return ErrRevoked }

func revokedError(before revocation.Epoch) error { return &RevokedError{Before: before} }
