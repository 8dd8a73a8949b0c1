package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
)

const providerColumns = `name, issuer, client_id, sealed_secret, scopes, name_claim, groups_claim, group_permissions, create_users,
	allowed_email_domains, allowed_groups, acr_values, link_by_email, created_at, updated_at`

type providerRow struct {
	Name                string `db:"name"`
	Issuer              string `db:"issuer"`
	ClientID            string `db:"client_id"`
	SealedSecret        string `db:"sealed_secret"`
	Scopes              string `db:"scopes"`
	NameClaim           string `db:"name_claim"`
	GroupsClaim         string `db:"groups_claim"`
	GroupPermissions    string `db:"group_permissions"`
	CreateUsers         int64  `db:"create_users"`
	AllowedEmailDomains string `db:"allowed_email_domains"`
	AllowedGroups       string `db:"allowed_groups"`
	ACRValues           string `db:"acr_values"`
	LinkByEmail         int64  `db:"link_by_email"`
	CreatedAt           int64  `db:"created_at"`
	UpdatedAt           int64  `db:"updated_at"`
}

func (r *providerRow) provider() (store.Provider, error) {
	p := store.Provider{
		Name: r.Name, Issuer: r.Issuer, ClientID: r.ClientID, SealedSecret: r.SealedSecret, NameClaim: r.NameClaim, GroupsClaim: r.GroupsClaim,
		CreateUsers: r.CreateUsers != 0, LinkByEmail: r.LinkByEmail != 0, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	var errs [5]error
	p.Scopes, errs[0] = unlist(r.Scopes)
	p.AllowedEmailDomains, errs[1] = unlist(r.AllowedEmailDomains)
	p.AllowedGroups, errs[2] = unlist(r.AllowedGroups)
	p.ACRValues, errs[3] = unlist(r.ACRValues)
	if r.GroupPermissions != "{}" {
		if err := json.Unmarshal([]byte(r.GroupPermissions), &p.GroupPermissions); err != nil {
			errs[4] = fmt.Errorf("%w: a map is not JSON: %w", store.ErrCorrupt, err)
		}
	}
	return p, errors.Join(errs[:]...)
}

// permissionsByGroup returns a map as a JSON object.
func permissionsByGroup(m map[string][]string) string {
	if len(m) == 0 {
		return "{}"
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // texts cannot fail
	}
	return string(b)
}

// Providers returns all providers, by name.
func (q *queries) Providers(ctx context.Context) ([]store.Provider, error) {
	var rows []providerRow
	if err := q.all(ctx, "read providers", &rows, `SELECT `+providerColumns+` FROM providers ORDER BY name`); err != nil {
		return nil, err
	}
	providers := make([]store.Provider, len(rows))
	for i := range rows {
		var err error
		if providers[i], err = rows[i].provider(); err != nil {
			return nil, err
		}
	}
	return providers, nil
}

// Provider returns a provider by name.
func (q *queries) Provider(ctx context.Context, name string) (store.Provider, error) {
	var row providerRow
	if err := q.get(ctx, "read a provider", &row, `SELECT `+providerColumns+` FROM providers WHERE name = ?`, name); err != nil {
		return store.Provider{}, err
	}
	return row.provider()
}

// PutProvider inserts or replaces a provider.
func (t *tx) PutProvider(ctx context.Context, p store.Provider) error {
	const what = "store a provider"
	if err := fits(what, p.Name, p.Issuer); err != nil {
		return err
	}
	_, err := t.exec(ctx, what, `
		INSERT INTO providers (`+providerColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (name) DO UPDATE SET issuer = excluded.issuer, client_id = excluded.client_id, sealed_secret = excluded.sealed_secret,
			scopes = excluded.scopes, name_claim = excluded.name_claim, groups_claim = excluded.groups_claim,
			group_permissions = excluded.group_permissions, create_users = excluded.create_users,
			allowed_email_domains = excluded.allowed_email_domains, allowed_groups = excluded.allowed_groups,
			acr_values = excluded.acr_values, link_by_email = excluded.link_by_email,
			created_at = excluded.created_at, updated_at = excluded.updated_at`,
		p.Name, p.Issuer, p.ClientID, p.SealedSecret, list(p.Scopes), p.NameClaim, p.GroupsClaim, permissionsByGroup(p.GroupPermissions), bit(p.CreateUsers),
		list(p.AllowedEmailDomains), list(p.AllowedGroups), list(p.ACRValues), bit(p.LinkByEmail), p.CreatedAt, p.UpdatedAt)
	return err
}

// DeleteProvider removes a provider.
func (t *tx) DeleteProvider(ctx context.Context, name string) error {
	return t.deleteOne(ctx, "remove a provider", `DELETE FROM providers WHERE name = ?`, name)
}

// deleteOne deletes one row, or returns store.ErrNotFound.
func (t *tx) deleteOne(ctx context.Context, what, query string, args ...any) error {
	n, err := t.exec(ctx, what, query, args...)
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	return err
}

const identityColumns = `issuer, subject, user_id, provider, linked_at, last_sign_in_at`

type identityRow struct {
	Issuer       string `db:"issuer"`
	Subject      string `db:"subject"`
	UserID       string `db:"user_id"`
	Provider     string `db:"provider"`
	LinkedAt     int64  `db:"linked_at"`
	LastSignInAt int64  `db:"last_sign_in_at"`
}

// Identity returns the identity with an issuer and a subject.
func (q *queries) Identity(ctx context.Context, issuer, subject string) (store.Identity, error) {
	const what = "read an identity"
	if err := exact(what, store.ErrNotFound, issuer, subject); err != nil {
		return store.Identity{}, err
	}
	var row identityRow
	if err := q.get(ctx, what, &row, `SELECT `+identityColumns+` FROM identities WHERE issuer = ? AND subject = ?`, issuer, subject); err != nil {
		return store.Identity{}, err
	}
	return store.Identity(row), nil
}

// exact returns an error for texts that would be stored as another text: two
// subjects must not become one.
func exact(what string, sentinel error, texts ...string) error {
	for _, text := range texts {
		if storableText(text) != text {
			return fmt.Errorf("%s: %w: the text is not valid", what, sentinel)
		}
	}
	return nil
}

// Identities returns the identities of the user.
func (q *queries) Identities(ctx context.Context, userID string) ([]store.Identity, error) {
	var rows []identityRow
	if err := q.all(ctx, "read identities", &rows, `SELECT `+identityColumns+` FROM identities WHERE user_id = ? ORDER BY issuer, subject`, userID); err != nil {
		return nil, err
	}
	identities := make([]store.Identity, len(rows))
	for i, row := range rows {
		identities[i] = store.Identity(row)
	}
	return identities, nil
}

// PutIdentity links an identity, or raises LastSignInAt if it is linked.
func (t *tx) PutIdentity(ctx context.Context, i store.Identity) error {
	const what = "link an identity"
	if err := errors.Join(fits(what, i.Issuer, i.Subject, i.UserID), exact(what, store.ErrConflict, i.Issuer, i.Subject)); err != nil {
		return err
	}
	n, err := t.exec(ctx, what, `
		INSERT INTO identities (`+identityColumns+`) VALUES (?,?,?,?,?,?)
		ON CONFLICT (issuer, subject) DO UPDATE SET last_sign_in_at =
			CASE WHEN excluded.last_sign_in_at > identities.last_sign_in_at THEN excluded.last_sign_in_at ELSE identities.last_sign_in_at END
			WHERE identities.user_id = excluded.user_id`,
		i.Issuer, i.Subject, i.UserID, i.Provider, i.LinkedAt, i.LastSignInAt)
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w: it is linked to another user", what, store.ErrConflict)
	}
	return err
}

// DeleteIdentity removes an identity.
func (t *tx) DeleteIdentity(ctx context.Context, issuer, subject string) error {
	const what = "remove an identity"
	if err := exact(what, store.ErrNotFound, issuer, subject); err != nil {
		return err
	}
	return t.deleteOne(ctx, what, `DELETE FROM identities WHERE issuer = ? AND subject = ?`, issuer, subject)
}

// CountProviderAdministrators counts the enabled administrators that a provider can
// sign in.
func (q *queries) CountProviderAdministrators(ctx context.Context) (int64, error) {
	var n int64
	err := q.get(ctx, "count administrators", &n, `
		SELECT count(*) FROM users WHERE administrator = 1 AND disabled = 0
			AND EXISTS (SELECT 1 FROM identities JOIN providers ON providers.issuer = identities.issuer WHERE identities.user_id = users.id)`)
	return n, err
}

const providerSessionColumns = `session_id, provider, issuer, subject, sid, sealed_id_token`

type providerSessionRow struct {
	SessionID     string `db:"session_id"`
	Provider      string `db:"provider"`
	Issuer        string `db:"issuer"`
	Subject       string `db:"subject"`
	SID           string `db:"sid"`
	SealedIDToken string `db:"sealed_id_token"`
}

// ProviderSession returns what a session began with at a provider.
func (q *queries) ProviderSession(ctx context.Context, sessionID string) (store.ProviderSession, error) {
	var row providerSessionRow
	err := q.get(ctx, "read a provider session", &row, `SELECT `+providerSessionColumns+` FROM provider_sessions WHERE session_id = ?`, sessionID)
	return store.ProviderSession(row), err
}

// ProviderSessions returns the provider sessions that a filter selects.
func (q *queries) ProviderSessions(ctx context.Context, f store.ProviderSessionFilter) ([]store.ProviderSession, error) {
	where, args := []string{"1 = 1"}, []any{}
	for _, by := range []struct{ column, value string }{
		{"provider", f.Provider}, {"issuer", f.Issuer}, {"sid", f.SID}, {"subject", f.Subject},
	} {
		if by.value != "" {
			where, args = append(where, by.column+` = ?`), append(args, by.value)
		}
	}
	if f.SID != "" {
		where = append(where, `sid <> ''`) // for the index
	}
	session := []string{}
	if f.User != "" {
		session, args = append(session, `user_id = ?`), append(args, f.User)
	}
	if f.OpenAt > 0 {
		session, args = append(session, `ended_at = 0 AND expires_at >= ?`), append(args, f.OpenAt)
	}
	if len(session) > 0 {
		where = append(where, `session_id IN (SELECT id FROM sessions WHERE `+strings.Join(session, " AND ")+`)`)
	}
	var rows []providerSessionRow
	if err := q.all(ctx, "read provider sessions", &rows,
		`SELECT `+providerSessionColumns+` FROM provider_sessions WHERE `+strings.Join(where, " AND ")+` ORDER BY session_id`, args...); err != nil {
		return nil, err
	}
	sessions := make([]store.ProviderSession, len(rows))
	for i, row := range rows {
		sessions[i] = store.ProviderSession(row)
	}
	return sessions, nil
}

// holderCondition returns the condition on users that h selects.
func holderCondition(h store.Holders) (where string, args []any) {
	if len(h.Permissions) == 0 {
		return `1 = 0`, nil
	}
	args = []any{h.Issuer}
	held := make([]string, len(h.Permissions))
	for i, permission := range h.Permissions {
		// The list is JSON. The operator LIKE ignores letter case on SQLite.
		held[i] = `replace(permissions, ?, '') <> permissions`
		args = append(args, `"`+permission+`"`)
	}
	return `id IN (SELECT user_id FROM identities WHERE issuer = ?) AND (` + strings.Join(held, ` OR `) + `)`, args
}

// Holders returns the users that h selects.
func (q *queries) Holders(ctx context.Context, h store.Holders) ([]store.User, error) {
	where, args := holderCondition(h)
	return q.users(ctx, `WHERE `+where+` ORDER BY id`, args...)
}

// CountLiveThrough counts the live sessions that began at a provider, and those of the
// users that h selects.
func (q *queries) CountLiveThrough(ctx context.Context, live store.Live, provider string, h store.Holders) (store.Counts, error) {
	where, args := living(live)
	users, of := holderCondition(h)
	return q.counts(ctx, where+` AND (s.id IN (SELECT session_id FROM provider_sessions WHERE provider = ?)
		OR s.user_id IN (SELECT id FROM users WHERE `+users+`))`, append(append(args, provider), of...))
}

// InsertProviderSession adds what a session began with.
func (t *tx) InsertProviderSession(ctx context.Context, s store.ProviderSession) error {
	const what = "add a provider session"
	if err := errors.Join(fits(what, s.SessionID, s.Provider, s.Issuer, s.Subject, s.SID), exact(what, store.ErrConflict, s.Issuer, s.Subject, s.SID)); err != nil {
		return err
	}
	n, err := t.exec(ctx, what, `INSERT INTO provider_sessions (`+providerSessionColumns+`) VALUES (?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
		s.SessionID, s.Provider, s.Issuer, s.Subject, s.SID, s.SealedIDToken)
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w: the session has one", what, store.ErrConflict)
	}
	return err
}

// EndProviderSession notes the end of a provider session, or of all of a subject.
func (t *tx) EndProviderSession(ctx context.Context, issuer, sid, subject string, epoch revocation.Epoch) error {
	const what = "end a provider session"
	if err := fits(what, issuer, sid, subject); err != nil {
		return err
	}
	subjects := []string{subject}
	if sid != "" && subject != "" {
		// The row without a subject is for sign-ins with the sid, the other for those
		// without one.
		subjects = []string{"", subject}
	}
	for _, subject := range subjects {
		_, err := t.exec(ctx, what, `
			INSERT INTO ended_provider_sessions (issuer, sid, subject, ended_at) VALUES (?,?,?,?)
			ON CONFLICT (issuer, sid, subject) DO UPDATE SET ended_at = excluded.ended_at WHERE excluded.ended_at > ended_provider_sessions.ended_at`,
			issuer, sid, subject, int64(epoch))
		if err != nil {
			return err
		}
	}
	return nil
}

// ProviderSessionEnded reports whether a provider session was ended.
func (q *queries) ProviderSessionEnded(ctx context.Context, issuer, sid, subject string, after revocation.Epoch) (bool, error) {
	ofSubject := `sid = ''`
	if sid == "" {
		ofSubject = `subject <> ''` // may belong to each session of the subject
	}
	var n int64
	err := q.get(ctx, "read ended provider sessions", &n, `
		SELECT count(*) FROM ended_provider_sessions
		WHERE issuer = ? AND (sid <> '' AND sid = ? AND subject = '' OR `+ofSubject+` AND subject = ? AND ended_at > ?)`, issuer, sid, subject, int64(after))
	return n > 0, err
}

// RecordLogoutToken notes a logout token.
func (t *tx) RecordLogoutToken(ctx context.Context, issuer, jti string, at int64) error {
	const what = "record a logout token"
	if err := fits(what, issuer); err != nil {
		return err
	}
	n, err := t.exec(ctx, what, `INSERT INTO logout_tokens (issuer, jti, seen_at) VALUES (?,?,?) ON CONFLICT DO NOTHING`, issuer, shortKey(jti), at)
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w: it was seen before", what, store.ErrConflict)
	}
	return err
}

// SignInMethods returns how users may sign in.
func (q *queries) SignInMethods(ctx context.Context) (store.SignInMethods, error) {
	var passwords int64
	err := q.get(ctx, "read the sign-in methods", &passwords, `SELECT passwords FROM sign_in_methods WHERE id = 1`)
	if errors.Is(err, store.ErrNotFound) {
		return store.SignInMethods{Passwords: true}, nil
	}
	return store.SignInMethods{Passwords: passwords != 0}, err
}

// PutSignInMethods replaces how users may sign in.
func (t *tx) PutSignInMethods(ctx context.Context, m store.SignInMethods) error {
	_, err := t.exec(ctx, "store the sign-in methods", `
		INSERT INTO sign_in_methods (id, passwords) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET passwords = excluded.passwords`, bit(m.Passwords))
	return err
}
