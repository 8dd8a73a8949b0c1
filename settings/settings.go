// Package settings defines the settings that apply to every session: the session
// timeout, the maximum session duration, and whether a sign-in may ask for remember
// me.
//
// The settings also apply to tokens that were issued before a change. A session
// that has ended under one set of values must not become valid under another. Every
// loosening therefore leaves a floor (see [InForce]).
//
// The API follows semantic versioning: within a major version nothing exported changes
// its meaning or disappears, and no interface that callers implement gains a method.
package settings

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// The bounds and defaults of the two durations.
const (
	DefaultSessionTimeout         = 20 * time.Minute
	DefaultMaximumSessionDuration = 20 * 24 * time.Hour

	// MinimumSessionTimeout is the minimum session timeout without the development
	// flag, which lowers it to [InsecureMinimum].
	MinimumSessionTimeout = time.Minute
	// InsecureMinimum is the minimum session timeout for development and tests.
	InsecureMinimum = time.Second
	// MaxDuration is the maximum of both durations: 400 days, the maximum lifetime of
	// a cookie in browsers (RFC 6265bis, section 5.5).
	MaxDuration = 400 * 24 * time.Hour
)

// Settings are the three values that an administrator sets. The zero value is not
// valid; [Default] is.
type Settings struct {
	// SessionTimeout is the idle timeout, in whole seconds, counted from the last
	// refresh. It does not apply to remember-me sessions. Required.
	SessionTimeout time.Duration
	// MaximumSessionDuration is the absolute lifetime, in whole seconds, counted
	// from the start of the session. It applies to every session. Required.
	MaximumSessionDuration time.Duration
	// RememberMeEnabled allows a sign-in to ask for a remember-me session. False
	// refuses it.
	RememberMeEnabled bool
}

// Default returns a timeout of 20 minutes, a maximum duration of 20 days, and
// remember me enabled.
func Default() Settings {
	return Settings{
		SessionTimeout:         DefaultSessionTimeout,
		MaximumSessionDuration: DefaultMaximumSessionDuration,
		RememberMeEnabled:      true,
	}
}

// A Preset is a named set of settings that a console or a command line may offer.
type Preset struct {
	Name     string // "default", "aal2", "aal3"
	Source   string // the source of the figures, for display, such as "NIST SP 800-63B-4 AAL2"
	Settings Settings
}

// Presets returns the presets in display order.
//
// The figures of aal2 and aal3 are the reauthentication limits of NIST SP
// 800-63B-4, sections 2.2.3 and 2.3.3. Both disable remember me, because it removes
// the inactivity limit.
func Presets() []Preset {
	return []Preset{
		{Name: "default", Source: "values of a new installation", Settings: Default()},
		{Name: "aal2", Source: "NIST SP 800-63B-4 AAL2", Settings: Settings{
			SessionTimeout: time.Hour, MaximumSessionDuration: 24 * time.Hour}},
		{Name: "aal3", Source: "NIST SP 800-63B-4 AAL3", Settings: Settings{
			SessionTimeout: 15 * time.Minute, MaximumSessionDuration: 12 * time.Hour}},
	}
}

// PresetNamed returns the preset with the given name. The second result is false if
// there is none.
func PresetNamed(name string) (Preset, bool) {
	for _, p := range Presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}

// ErrInvalid is wrapped by every violation that [Settings.Validate] returns.
var ErrInvalid = errors.New("invalid settings")

// A Violation describes a fault of one member of the settings. It wraps
// [ErrInvalid].
type Violation struct {
	Field   string // the JSON name, e.g. "session_timeout_seconds"
	Problem string // the fault of the value, and which values are valid
}

func (v Violation) Error() string { return v.Field + ": " + v.Problem }

// Unwrap returns [ErrInvalid].
func (v Violation) Unwrap() error { return ErrInvalid }

// The names of the members in the wire format.
const (
	FieldSessionTimeout         = "session_timeout_seconds"
	FieldMaximumSessionDuration = "maximum_session_duration_seconds"
	FieldRememberMeEnabled      = "remember_me_enabled"
)

// Violations returns all violations of s, or nil. minimum is the minimum session
// timeout; zero means [MinimumSessionTimeout].
func (s Settings) Violations(minimum time.Duration) []Violation {
	if minimum == 0 {
		minimum = MinimumSessionTimeout
	}
	var vs []Violation
	add := func(field, format string, args ...any) {
		vs = append(vs, Violation{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	check := func(field string, d time.Duration) {
		switch {
		case d%time.Second != 0:
			add(field, "%v is not a whole number of seconds", d)
		case d < minimum:
			add(field, "%s is too short; the minimum is %s", inSeconds(d), inSeconds(minimum))
		case d > MaxDuration:
			add(field, "%s is too long; the maximum is %s (400 days)", inSeconds(d), inSeconds(MaxDuration))
		}
	}
	check(FieldSessionTimeout, s.SessionTimeout)
	check(FieldMaximumSessionDuration, s.MaximumSessionDuration)
	if s.MaximumSessionDuration < s.SessionTimeout {
		add(FieldMaximumSessionDuration, "%s is shorter than the session timeout of %s; make it at least as long",
			inSeconds(s.MaximumSessionDuration), inSeconds(s.SessionTimeout))
	}
	return vs
}

// inSeconds writes d with its unit.
func inSeconds(d time.Duration) string {
	if n := Seconds(d); n != 1 {
		return fmt.Sprint(n, " seconds")
	}
	return "1 second"
}

// Validate returns nil or all violations joined. Each wraps [ErrInvalid]; use
// [errors.As] to extract one. minimum is as in [Settings.Violations].
func (s Settings) Validate(minimum time.Duration) error {
	vs := s.Violations(minimum)
	errs := make([]error, len(vs))
	for i, v := range vs {
		errs[i] = v
	}
	return errors.Join(errs...)
}

// UnixTime is a date in whole seconds since the Unix epoch, as in a JWT (RFC 7519,
// section 2, NumericDate, without fractions). Zero means unset.
type UnixTime int64

// Time returns the instant at the beginning of the second.
func (t UnixTime) Time() time.Time { return time.Unix(int64(t), 0).UTC() }

// Add returns the date d later, in whole seconds.
func (t UnixTime) Add(d time.Duration) UnixTime { return t + UnixTime(Seconds(d)) }

// Seconds returns d in whole seconds.
func Seconds(d time.Duration) int64 { return int64(d / time.Second) }

// FromSeconds returns n seconds as a duration. A value outside the range of a
// duration becomes the largest or smallest duration of whole seconds, so that a
// bounds check sees a value out of range and never an overflowed value.
func FromSeconds(n int64) time.Duration {
	const limit = math.MaxInt64 / int64(time.Second)
	return time.Duration(max(-limit, min(n, limit))) * time.Second
}
