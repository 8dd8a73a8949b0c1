package replica

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// State is the shared state at one epoch, without the cache of revocations. Its
// parts are shared: do not modify them.
type State struct {
	// Epoch is the epoch up to which every change is applied; 0 if nothing is
	// complete yet.
	Epoch revocation.Epoch
	// History is the number of times that the source began another history, because
	// its database was restored from a backup.
	History int
	// Lease is how long the state may be trusted.
	Lease token.Lease

	Installation Installation
	Settings     *settings.InForce // nil if not known yet
	Keys         Keys
	Clients      revocation.Epoch // of the last change of a service client; 0 if not known

	// Log holds every revocation up to Epoch, and later ones that arrived with
	// them. It is nil if the replica keeps no log.
	Log *Log
}

// Installation is the issuer and its audiences.
type Installation struct {
	Issuer   string // "" if not known yet
	Audience []string
	// Former are the issuers of earlier that are accepted, each until a second.
	Former map[string]token.UnixTime
	Epoch  revocation.Epoch // no change is later
}

// Continues reports whether validators that know the issuer before may accept the
// installation: its issuer is the same, or it vouches for the one before.
func (i *Installation) Continues(before string) bool {
	_, vouched := i.Former[before]
	return before == "" || before == i.Issuer || vouched
}

// Keys are the trusted keys.
type Keys struct {
	Set   *token.KeySet
	JSON  json.RawMessage  // the same as a JWK Set; nil if not known yet
	Epoch revocation.Epoch // no change is later
}

// AppendJSON appends the members of an answer of the feed (contract, section 6)
// that are newer than after, each preceded by a comma, and then the opening bracket
// of its list of revocations.
func (s *State) AppendJSON(b []byte, after revocation.Epoch) []byte {
	member := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err) // strings, numbers, and a JWK Set that was parsed before
		}
		b = append(b, ',', '"')
		b = append(b, name...)
		b = append(b, '"', ':')
		b = append(b, text...)
	}
	if s.Installation.Epoch > after {
		member("issuer", s.Installation.Issuer)
		member("audience", s.Installation.Audience)
		issuers, until := []string{s.Installation.Issuer}, map[string]time.Time{}
		for _, name := range slices.Sorted(maps.Keys(s.Installation.Former)) {
			issuers, until[name] = append(issuers, name), s.Installation.Former[name].Time()
		}
		member("issuers", issuers)
		if len(until) > 0 {
			member("issuers_until", until)
		}
	}
	if s.Settings != nil && (after == 0 || s.Settings.Epoch > after) {
		member("settings", SettingsToWire(s.Settings))
	}
	if s.Keys.Epoch > after {
		member("keys", s.Keys.JSON)
	}
	if s.Clients > after {
		member("clients_epoch", int64(s.Clients))
	}
	return append(b, `,"revocations":[`...)
}

// SettingsToWire returns the settings in the form of the feed.
func SettingsToWire(in *settings.InForce) *wire.FeedSettings {
	return &wire.FeedSettings{
		SessionTimeoutSeconds:         settings.Seconds(in.SessionTimeout),
		MaximumSessionDurationSeconds: settings.Seconds(in.MaximumSessionDuration),
		RememberMeEnabled:             in.RememberMeEnabled,
		IdleFloor:                     int64(in.IdleFloor),
		IdleFloorEpoch:                int64(in.IdleFloorEpoch),
		MaximumFloor:                  int64(in.MaximumFloor),
		MaximumFloorEpoch:             int64(in.MaximumFloorEpoch),
		Epoch:                         int64(in.Epoch),
	}
}

// SettingsFromWire is the reverse of [SettingsToWire]. It returns an error if the
// settings are out of range.
func SettingsFromWire(s *wire.FeedSettings) (*settings.InForce, error) {
	in := &settings.InForce{
		Settings: settings.Settings{
			SessionTimeout:         settings.FromSeconds(s.SessionTimeoutSeconds),
			MaximumSessionDuration: settings.FromSeconds(s.MaximumSessionDurationSeconds),
			RememberMeEnabled:      s.RememberMeEnabled,
		},
		Epoch:             revocation.Epoch(s.Epoch),
		IdleFloor:         settings.UnixTime(s.IdleFloor),
		IdleFloorEpoch:    revocation.Epoch(s.IdleFloorEpoch),
		MaximumFloor:      settings.UnixTime(s.MaximumFloor),
		MaximumFloorEpoch: revocation.Epoch(s.MaximumFloorEpoch),
	}
	// The server may run with --insecure-short-timeouts.
	return in, in.Validate(settings.InsecureMinimum)
}
