package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
)

type settingsRow struct {
	SessionTimeout         int64             `db:"session_timeout"`
	MaximumSessionDuration int64             `db:"maximum_session_duration"`
	RememberMeEnabled      int64             `db:"remember_me_enabled"`
	IdleFloor              settings.UnixTime `db:"idle_floor"`
	IdleFloorEpoch         revocation.Epoch  `db:"idle_floor_epoch"`
	MaximumFloor           settings.UnixTime `db:"maximum_floor"`
	MaximumFloorEpoch      revocation.Epoch  `db:"maximum_floor_epoch"`
	LongestMaximum         int64             `db:"longest_maximum"`
	Epoch                  revocation.Epoch  `db:"epoch"`
}

const settingsColumns = `session_timeout, maximum_session_duration, remember_me_enabled,
	idle_floor, idle_floor_epoch, maximum_floor, maximum_floor_epoch, longest_maximum, epoch`

// Settings returns the settings, or store.ErrNotFound before the first start.
func (q *queries) Settings(ctx context.Context) (store.Settings, error) {
	var r settingsRow
	if err := q.get(ctx, "read the settings", &r, `SELECT `+settingsColumns+` FROM settings WHERE id = 1`); err != nil {
		return store.Settings{}, err
	}
	return store.Settings{
		InForce: settings.InForce{
			Settings: settings.Settings{
				SessionTimeout:         time.Duration(r.SessionTimeout) * time.Second,
				MaximumSessionDuration: time.Duration(r.MaximumSessionDuration) * time.Second,
				RememberMeEnabled:      r.RememberMeEnabled != 0,
			},
			Epoch:     r.Epoch,
			IdleFloor: r.IdleFloor, IdleFloorEpoch: r.IdleFloorEpoch,
			MaximumFloor: r.MaximumFloor, MaximumFloorEpoch: r.MaximumFloorEpoch,
		},
		LongestMaximum: r.LongestMaximum,
	}, nil
}

// PutSettings replaces the settings.
func (t *tx) PutSettings(ctx context.Context, s store.Settings) error {
	_, err := t.exec(ctx, "store the settings", `
		INSERT INTO settings (id, `+settingsColumns+`) VALUES (1,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET session_timeout = excluded.session_timeout,
			maximum_session_duration = excluded.maximum_session_duration,
			remember_me_enabled = excluded.remember_me_enabled,
			idle_floor = excluded.idle_floor, idle_floor_epoch = excluded.idle_floor_epoch,
			maximum_floor = excluded.maximum_floor, maximum_floor_epoch = excluded.maximum_floor_epoch,
			longest_maximum = excluded.longest_maximum, epoch = excluded.epoch`,
		settings.Seconds(s.SessionTimeout), settings.Seconds(s.MaximumSessionDuration), bit(s.RememberMeEnabled),
		s.IdleFloor, s.IdleFloorEpoch, s.MaximumFloor, s.MaximumFloorEpoch, s.LongestMaximum, s.Epoch)
	return err
}

// Installation returns the values fixed at the first start, or store.ErrNotFound
// before that.
func (q *queries) Installation(ctx context.Context) (store.Installation, error) {
	var r struct {
		Issuer   string           `db:"issuer"`
		Audience string           `db:"audience"`
		Former   string           `db:"former"`
		Epoch    revocation.Epoch `db:"epoch"`
	}
	if err := q.get(ctx, "read the installation", &r,
		`SELECT issuer, audience, former, epoch FROM installation WHERE id = 1`); err != nil {
		return store.Installation{}, err
	}
	in := store.Installation{Issuer: r.Issuer, Epoch: r.Epoch}
	var err error
	if in.Audience, err = unlist(r.Audience); err != nil {
		return in, err
	}
	if err := json.Unmarshal([]byte(r.Former), &in.Former); err != nil {
		return in, fmt.Errorf("%w: the list of former issuers is not JSON: %w", store.ErrCorrupt, err)
	}
	if len(in.Former) == 0 {
		in.Former = nil
	}
	return in, nil
}

// PutInstallation replaces the installation.
func (t *tx) PutInstallation(ctx context.Context, i store.Installation) error {
	former, err := json.Marshal(i.Former)
	if err != nil {
		return err
	}
	if i.Former == nil {
		former = []byte("[]")
	}
	_, err = t.exec(ctx, "store the installation", `
		INSERT INTO installation (id, issuer, audience, former, epoch) VALUES (1,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET issuer = excluded.issuer, audience = excluded.audience, former = excluded.former, epoch = excluded.epoch`,
		i.Issuer, list(i.Audience), string(former), int64(i.Epoch))
	return err
}
