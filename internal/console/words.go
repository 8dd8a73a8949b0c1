package console

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/wire"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/bearer"
)

// duration says d in words, to the second: "20 minutes", "1 day 2 hours".
func duration(d time.Duration) string {
	if d < time.Second {
		return "0 seconds"
	}
	var parts []string
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := int64(d / unit.is); n > 0 {
			parts = append(parts, count(n, unit.name))
			d -= time.Duration(n) * unit.is
		}
	}
	return strings.Join(parts, " ")
}

// roughly says d as people would, as far as it matters: in days if it is 2 days or
// more, else in hours from 10 hours, in minutes from 10 minutes, and in seconds below.
// The unit is rounded to the nearest.
func roughly(d time.Duration) string {
	switch {
	case d.Round(time.Hour) >= 48*time.Hour:
		d = d.Round(24 * time.Hour)
	case d.Round(time.Minute) >= 10*time.Hour:
		d = d.Round(time.Hour)
	case d.Round(time.Second) >= 10*time.Minute:
		d = d.Round(time.Minute)
	}
	return duration(d)
}

// durationTyped reads a duration as people type it: a number of seconds, or numbers
// with units, each unit once, such as "20m", "1h 30m" or "20 days". false if the text is
// nothing of the kind. A duration that is too long for the type is cut to
// the maximum of the type.
func durationTyped(text string) (time.Duration, bool) {
	const most = math.MaxInt64 / int64(time.Second)
	rest := strings.ToLower(strings.TrimSpace(text))
	if typedDigits.MatchString(rest) {
		n, err := strconv.ParseInt(rest, 10, 64)
		return settings.FromSeconds(n), err == nil
	}
	var total int64
	used := map[string]bool{} // units, by their first letter
	for rest != "" {
		m := typedPart.FindStringSubmatch(rest)
		if m == nil || used[m[2][:1]] {
			return 0, false
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		unit := map[string]int64{"s": 1, "m": 60, "h": 3600, "d": 86400}[m[2][:1]]
		if err != nil {
			return 0, false
		}
		if n > (most-total)/unit {
			n = (most - total) / unit
		}
		total += n * unit
		used[m[2][:1]], rest = true, rest[len(m[0]):]
	}
	return settings.FromSeconds(total), len(used) > 0
}

var (
	typedDigits = regexp.MustCompile(`^[0-9]+$`)
	typedPart   = regexp.MustCompile(`^([0-9]+) ?(seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d),? *`)
)

// inUnits says the numbers of seconds in a text in the units that the page uses.
func inUnits(text string) string {
	return writtenSeconds.ReplaceAllStringFunc(text, func(found string) string {
		n, err := strconv.ParseInt(writtenSeconds.FindStringSubmatch(found)[1], 10, 64)
		if err != nil || n < 60 {
			return found
		}
		return duration(settings.FromSeconds(n))
	})
}

var writtenSeconds = regexp.MustCompile(`([0-9]+) seconds?(?: \([0-9]+ days\))?`)

// about says d in its largest unit alone: "3 minutes".
func about(d time.Duration) string {
	switch {
	case d < time.Minute:
		return count(int64(d/time.Second), "second")
	case d < time.Hour:
		return count(int64(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return count(int64(d/time.Hour), "hour")
	}
	return count(int64(d/(24*time.Hour)), "day")
}

// nearest rounds d to the unit in which about says it. A time ahead is rounded: "in 20
// days" and not "in 19 days" just after it was set.
func nearest(d time.Duration) time.Duration {
	switch {
	case d < time.Minute:
		return d
	case d < time.Hour:
		return d.Round(time.Minute)
	case d < 48*time.Hour:
		return d.Round(time.Hour)
	}
	return d.Round(24 * time.Hour)
}

// milliseconds says d in milliseconds, or in words if it is ten seconds or more.
func milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return duration(d)
	}
	return group(d.Milliseconds()) + " ms"
}

// count says n things: "1 session", "12 345 sessions". Grouped with a narrow
// space that does not break (ISO 31-0), since commas and points mean different
// things to different people.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return group(n) + " " + thing + "s"
}

func group(n int64) string {
	digits := strconv.FormatInt(n, 10)
	if n < 10_000 && n > -10_000 {
		return digits
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && d != '-' && digits[i-1] != '-' && (len(digits)-i)%3 == 0 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// A when is an instant as the pages show it: how long ago, and exactly on
// request. The script converts it to the viewer's time zone.
type when struct{ at, now time.Time }

// Zero reports whether the instant is unset.
func (w when) Zero() bool { return w.at.IsZero() || w.at.UnixMicro() == 0 }

// ISO returns the instant for programs.
func (w when) ISO() string { return w.at.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Exact returns the instant to the second.
func (w when) Exact() string { return w.at.UTC().Format("2 January 2006, 15:04:05 UTC") }

// UTC returns the instant to the second, as short as it sorts.
func (w when) UTC() string { return w.at.UTC().Format(time.DateTime) }

// Micro returns the instant to the microsecond.
func (w when) Micro() string { return w.at.UTC().Format("2 January 2006, 15:04:05.000000 UTC") }

// Ago returns how long ago the instant was, or how long until it comes.
func (w when) Ago() string {
	d := w.now.Sub(w.at)
	switch {
	case d < -5*time.Second:
		return "in " + about(nearest(-d))
	case d < 10*time.Second:
		return "just now"
	}
	return about(d) + " ago"
}

// endings are the sentences for the ends of a session that package token has no
// reason for.
var endings = map[string]string{
	"signed_out":                 "You have signed out.",
	"signed_out_at_provider":     "You have signed out. You are signed out at the identity provider too, if you went on there and did not decline.",
	"signed_out_everywhere":      "You have signed out everywhere. All your sessions were revoked, including this one.",
	"revoked_many":               "You revoked these sessions, including your own. Sign in to see the receipt.",
	"revoked_by_administrator":   "An administrator revoked your sessions.",
	"revoked_by_yourself":        "You revoked this session or signed out elsewhere.",
	"revoked_by_service":         "A service that manages your account revoked your sessions.",
	"revoked_by_deletion":        "Your account was deleted. That ended all your sessions.",
	"revoked_by_disabling":       "Your account was disabled. That ended all your sessions. Ask an administrator.",
	"revoked_by_password_change": "You changed your password on another device or in another browser. That ended your other sessions, including this one.",
	"revoked_by_password_reset":  "An administrator set a new password for your account. That ended all your sessions, including this one. Sign in with the new password.",
	"two_sessions":               "Your browser sent two sessions for this site. Sign in again: this ends both.",
}

// whyEnded returns the sentence that tells a user why they must sign in. An
// attacker can put any word into the address of the sign-in page: an unknown word
// returns "". The sentence has no duration: the limit that ended the session may differ
// from the one in force now.
func whyEnded(why string) string {
	reason := token.Reason(why)
	switch {
	case endings[why] != "":
		return endings[why]
	case reason == token.ErrUnavailable || !slices.Contains(token.Reasons(), reason):
		return "" // no end of a session
	case reason == token.ErrMissing:
		return "Sign in to open this page."
	}
	if rest, ok := strings.CutPrefix(refusal(reason), "The session "); ok {
		return "Your session " + rest
	}
	return "Your session is no longer accepted."
}

// refusal returns the meaning of a reason for refusing a token, as services that
// use package bearer say it, with a typographic apostrophe.
func refusal(reason token.Reason) string {
	return strings.ReplaceAll(bearer.Summary(reason), "'", "’")
}

// An action is an action of the audit log with its description.
type action struct{ Name, Words string }

// actions are those that the audit page offers as filters, in this order.
var actions = []action{
	{wire.ActionSignIn, "Signed in"},
	{wire.ActionSignInFailed, "Sign-in refused"},
	{wire.ActionReauthenticate, "Confirmed the password"},
	{wire.ActionSignOut, "Signed out"},
	{wire.ActionRevokeUser, "Revoked a user’s sessions"},
	{wire.ActionRevokeSession, "Revoked a session"},
	{wire.ActionRevokeEveryone, "Revoked everyone’s sessions"},
	{wire.ActionRevokeRemembered, "Revoked all remember-me sessions"},
	{wire.ActionUserCreate, "Created a user"},
	{wire.ActionUserChange, "Changed a user"},
	{wire.ActionUserDisable, "Disabled a user"},
	{wire.ActionUserEnable, "Enabled a user"},
	{wire.ActionUserPermissions, "Changed permissions"},
	{wire.ActionUserGroups, "Changed groups"},
	{wire.ActionUserLink, "Linked an account at a provider"},
	{wire.ActionUserDelete, "Deleted a user"},
	{wire.ActionUserPassword, "Changed a password"},
	{wire.ActionSettingsChange, "Changed the settings"},
	{wire.ActionClientCreate, "Added a service"},
	{wire.ActionClientSecret, "Created a new secret"},
	{wire.ActionClientDelete, "Removed a service"},
	{wire.ActionUserUnlink, "Unlinked an account at a provider"},
	{wire.ActionProviderCreate, "Added an identity provider"},
	{wire.ActionProviderChange, "Changed an identity provider"},
	{wire.ActionProviderDelete, "Removed an identity provider"},
	{wire.ActionSignInMethods, "Changed the sign-in methods"},
	{wire.ActionKeyCreate, "Created a signing key"},
	{wire.ActionKeyImport, "Imported a signing key"},
	{wire.ActionKeyActivate, "Activated a signing key"},
	{wire.ActionKeyRotate, "Rotated the signing keys"},
	{wire.ActionKeyRetire, "Retired a signing key in an emergency"},
	{wire.ActionKeyRetired, "Retired a signing key as scheduled"},
	{wire.ActionInstall, "Installed Curfew"},
	{wire.ActionRestore, "Restored a backup"},
	{wire.ActionCopy, "Copied the database"},
	{wire.ActionIssuer, "Changed the issuer"},
	{wire.ActionPrune, "Deleted expired records"},
}

// actionWords returns the description of an action; an unknown action is returned
// unchanged.
func actionWords(name string) string {
	for _, a := range actions {
		if a.Name == name {
			return a.Words
		}
	}
	return name
}

// clip cuts a text after n characters.
func clip(text string, n int) string {
	seen := 0
	for i := range text {
		if seen++; seen > n {
			return text[:i] + "…"
		}
	}
	return text
}

func plural(n int64, thing string) string { return count(n, thing) }

func seconds(n int64) string {
	const most = int64(1<<63-1) / int64(time.Second)
	if n < 0 || n > most {
		return ""
	}
	return duration(time.Duration(n) * time.Second)
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return fmt.Sprintf("%d", part*100/whole)
}
