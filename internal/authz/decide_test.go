package authz

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"example.com/curfew/internal/store"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

const (
	epoch    revocation.Epoch = 1000
	iat                       = 1_800_000_000
	timeout                   = 20 * 60
	maximum                   = 20 * 24 * 60 * 60
	oldUntil                  = (iat + 500) * 1_000_000
)

func at(second int64) time.Time { return time.Unix(second, 0) }

// good returns facts by which the session of alice, an administrator, and the
// client shop may continue.
func good() *facts {
	in := settings.InForce{Settings: settings.Default()}
	return &facts{
		now: at(iat + 10), settings: in,
		keys:     []store.Key{{ID: "other", State: store.KeyActive}, {ID: "key", State: store.KeyActive}},
		revoked:  map[revocation.Scope]revocation.Epoch{},
		users:    map[string]store.User{"alice": {ID: "alice", Permissions: []string{store.AdministerSystem}}},
		sessions: map[string]store.Session{"sid": {ID: "sid", UserID: "alice", BegunBy: store.ActorUser}},
		clients: map[string]store.Client{"shop": {
			ID: "shop", Capabilities: []string{store.Issue}, SecretHash: "new", OldSecretHash: "old", OldSecretUntil: oldUntil,
		}},
	}
}

func alice(rememberMe bool) Caller {
	s := token.Session{Subject: "alice", ID: "sid", KeyID: "key", Epoch: epoch, IssuedAt: iat, RememberMe: rememberMe}
	s = s.Refreshed(at(iat), settings.Default())
	// What the caller held when it was authenticated counts for nothing.
	return Caller{Session: &s, User: &store.User{ID: "alice", Permissions: store.Permissions()}}
}

func shop(hash string) Caller {
	return Caller{Client: &store.Client{ID: "shop", Capabilities: store.Capabilities()}, SecretHash: hash}
}

func revokedAt(scope revocation.Scope, e revocation.Epoch) func(*facts) {
	return func(f *facts) { f.revoke(revocation.Revocation{Scope: scope, Epoch: e}) }
}

func keyState(state string) func(*facts) { return func(f *facts) { f.keys[1].State = state } }

func user(change func(*store.User)) func(*facts) {
	return func(f *facts) {
		u := f.users["alice"]
		change(&u)
		f.users["alice"] = u
	}
}

func row(change func(*store.Session)) func(*facts) {
	return func(f *facts) {
		s := f.sessions["sid"]
		change(&s)
		f.sessions["sid"] = s
	}
}

func client(change func(*store.Client)) func(*facts) {
	return func(f *facts) {
		c := f.clients["shop"]
		change(&c)
		f.clients["shop"] = c
	}
}

func clock(t time.Time) func(*facts) { return func(f *facts) { f.now = t } }

// errForbidden stands for an *ErrForbidden in the table.
var errForbidden = errors.New("forbidden")

func mayIssue(c Caller) error { return c.MayUse(store.Issue) }

func TestDecide(t *testing.T) {
	administer, proceed := Caller.MayAdminister, Caller.MayContinue
	type test struct {
		what   string
		caller Caller
		need   Need
		change func(*facts)
		want   error // nil: decided
	}
	tests := []test{
		{"good", alice(false), administer, nil, nil},
		{"remembered", alice(true), administer, nil, nil},

		{"key next", alice(false), administer, keyState(store.KeyNext), nil},
		{"key retiring", alice(false), administer, keyState(store.KeyRetiring), nil},
		{"key retired", alice(false), administer, keyState(store.KeyRetired), token.ErrUnknownKey},
		{"key in a state of a later release", alice(false), administer, keyState("suspended"), token.ErrUnknownKey},
		{"key gone", alice(false), administer, func(f *facts) { f.keys = f.keys[:1] }, token.ErrUnknownKey},

		{"just before the session timeout", alice(false), administer, clock(at(iat + timeout).Add(-time.Microsecond)), nil},
		{"at the session timeout", alice(false), administer, clock(at(iat + timeout)), token.ErrIdleTimeout},
		{"after the session timeout", alice(false), administer, clock(at(iat + timeout + 1)), token.ErrIdleTimeout},
		{"remembered, just before the maximum", alice(true), administer, clock(at(iat + maximum).Add(-time.Microsecond)), nil},
		{"remembered, at the maximum", alice(true), administer, clock(at(iat + maximum)), token.ErrMaximumDuration},
		{"remembered, after the maximum", alice(true), administer, clock(at(iat + maximum + 1)), token.ErrMaximumDuration},
		{"settings shortened", alice(false), administer, func(f *facts) { f.settings.SessionTimeout = 10 * time.Second }, token.ErrIdleTimeout},

		{"another user revoked", alice(false), administer, revokedAt(revocation.User("bob"), epoch+1), nil},
		{"another session revoked", alice(false), administer, revokedAt(revocation.Session("other"), epoch+1), nil},
		{"a session with the user's id revoked", alice(false), administer, revokedAt(revocation.Session("alice"), epoch+1), nil},
		{"remembered revoked, not remembered", alice(false), administer, revokedAt(revocation.Remembered(), epoch+1), nil},

		{"user gone", alice(false), proceed, func(f *facts) { delete(f.users, "alice") }, token.ErrRevoked},
		{"user disabled", alice(false), proceed, user(func(u *store.User) { u.Disabled = true }), token.ErrRevoked},
		{"demoted", alice(false), administer, user(func(u *store.User) { u.Permissions = nil }), errForbidden},
		{"demoted, and only continues", alice(false), proceed, user(func(u *store.User) { u.Permissions = nil }), nil},
		{"UserEdit is not AdministerSystem", alice(false), administer, user(func(u *store.User) { u.Permissions = []string{store.UserEdit} }), errForbidden},
		{"no capability of a client", alice(false), mayIssue, nil, errForbidden},

		{"begun on the command line", alice(false), administer, row(func(s *store.Session) { s.BegunBy = store.ActorCLI }), nil},
		{"begun by a client", alice(false), administer, row(func(s *store.Session) { s.BegunBy = store.ActorClient }), errForbidden},
		{"begun by the system", alice(false), administer, row(func(s *store.Session) { s.BegunBy = store.ActorSystem }), errForbidden},
		{"begun under an earlier release", alice(false), administer, row(func(s *store.Session) { s.BegunBy = "" }), errForbidden},
		{"a row of another user", alice(false), administer, row(func(s *store.Session) { s.UserID = "bob" }), errForbidden},
		{"no row", alice(false), administer, func(f *facts) { delete(f.sessions, "sid") }, errForbidden},
		{"no row, and only continues", alice(false), proceed, func(f *facts) { delete(f.sessions, "sid") }, nil},

		{"client", shop("new"), mayIssue, nil, nil},
		{"client deleted", shop("new"), mayIssue, func(f *facts) { delete(f.clients, "shop") }, ErrBadClient},
		{"client deleted, by its row", shop("new"), mayIssue, client(func(c *store.Client) { c.Deleted = true }), ErrBadClient},
		{"capability taken", shop("new"), mayIssue, client(func(c *store.Client) { c.Capabilities = []string{store.Revoke} }), errForbidden},
		{"capability taken, and only continues", shop("new"), proceed, client(func(c *store.Client) { c.Capabilities = nil }), nil},
		{"no permission of a user", shop("new"), administer, nil, errForbidden},
		{"secret replaced", shop("older"), mayIssue, nil, ErrBadClient},
		{"no secret", shop(""), mayIssue, client(func(c *store.Client) { c.SecretHash, c.OldSecretHash = "", "" }), ErrBadClient},
		{"old secret, just before its end", shop("old"), mayIssue, clock(time.UnixMicro(oldUntil - 1)), nil},
		{"old secret, at its end", shop("old"), mayIssue, clock(time.UnixMicro(oldUntil)), ErrBadClient},
		{"old secret, after its end", shop("old"), mayIssue, clock(time.UnixMicro(oldUntil + 1)), ErrBadClient},

		{"no need is given", alice(false), nil, nil, errNoNeed},
		{"trusted, and no need is given", Caller{Trusted: true}, nil, nil, errNoNeed},
		{"trusted", Caller{Trusted: true}, administer, nil, nil},
		{"trusted, as a client", Caller{Trusted: true}, mayIssue, nil, nil},
		{"no caller", Caller{}, administer, nil, errForbidden},
		{"no caller, and only continues", Caller{}, proceed, nil, token.ErrMissing},
		{"no caller, and nothing is needed", Caller{}, func(Caller) error { return nil }, nil, token.ErrMissing},
		{"a user without a session", Caller{User: alice(false).User}, administer, nil, errForbidden},
	}
	for _, scope := range []revocation.Scope{revocation.Everyone(), revocation.Remembered(), revocation.User("alice"), revocation.Session("sid")} {
		for before, want := range map[revocation.Epoch]error{epoch - 1: nil, epoch: nil, epoch + 1: token.ErrRevoked} {
			what := fmt.Sprintf("%s revoked at %d", scope.Kind, before)
			tests = append(tests, test{what, alice(scope == revocation.Remembered()), administer, revokedAt(scope, before), want})
		}
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			f := good()
			if tt.change != nil {
				tt.change(f)
			}
			got, err := f.decide(tt.caller, tt.need)
			forbidden := (*ErrForbidden)(nil)
			switch {
			case errors.Is(tt.want, errForbidden):
				if !errors.As(err, &forbidden) {
					t.Fatalf("error %v, want *ErrForbidden", err)
				}
			case !errors.Is(err, tt.want):
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil && (got.User != nil || got.Session != nil || got.Client != nil || got.Trusted) {
				t.Errorf("a refused caller is returned: %+v", got)
			}
		})
	}
}

// A refused caller gets the reason that a new request would get: of several
// reasons, the validator's first.
func TestDecideOrder(t *testing.T) {
	f := good()
	steps := []struct {
		change func(*facts)
		want   error
	}{
		{func(f *facts) { delete(f.users, "alice") }, token.ErrRevoked},
		{revokedAt(revocation.Everyone(), epoch+7), token.ErrRevoked},
		{clock(at(iat + maximum)), token.ErrMaximumDuration},
		{keyState(store.KeyRetired), token.ErrUnknownKey},
	}
	for i, step := range steps {
		step.change(f)
		_, err := f.decide(alice(false), Caller.MayAdminister)
		if !errors.Is(err, step.want) {
			t.Errorf("after %d changes: error %v, want %v", i+1, err, step.want)
		}
		if by := (*token.RevokedError)(nil); i == 1 && (!errors.As(err, &by) || by.Before != epoch+7) {
			t.Errorf("the error does not name the revocation: %v", err)
		}
	}
}

// The caller that is returned has what the facts have, not what it came with.
func TestDecidedCaller(t *testing.T) {
	f := good()
	user(func(u *store.User) { u.Permissions, u.Name = []string{store.UserEdit}, "Alice" })(f)
	c, err := f.decide(alice(false), Caller.MayEditUsers)
	if err != nil || c.User.Name != "Alice" || c.Can(store.AdministerSystem) || !c.Can(store.UserEdit) || !c.IsSelf("alice") {
		t.Errorf("%+v, %v", c.User, err)
	}
	row(func(s *store.Session) { s.BegunBy = store.ActorClient })(f)
	if c, err = f.decide(alice(false), Caller.MayContinue); err != nil || len(c.User.Permissions) != 0 {
		t.Errorf("begun by a client: %+v, %v", c.User, err)
	}
	if held := f.users["alice"].Permissions; !slices.Equal(held, []string{store.UserEdit}) {
		t.Errorf("the facts have changed: %q", held)
	}
	client(func(c *store.Client) { c.Capabilities = []string{store.Issue} })(f)
	if c, err = f.decide(shop("new"), mayIssue); err != nil || c.Client.Can(store.Revoke) || c.User != nil {
		t.Errorf("%+v, %v", c.Client, err)
	}
}

func TestNeeds(t *testing.T) {
	holder := func(permissions ...string) Caller {
		return Caller{User: &store.User{ID: "u", Permissions: permissions}, Session: &token.Session{Subject: "u"}}
	}
	callers := map[string]Caller{
		"nobody": {}, "user": holder(), "editor": holder(store.UserEdit), "administrator": holder(store.AdministerSystem),
		"client": {Client: &store.Client{Capabilities: store.Capabilities()}}, "trusted": {Trusted: true},
	}
	administrator, other := store.User{ID: "a", Permissions: []string{store.AdministerSystem}}, store.User{ID: "o"}
	for what, tt := range map[string]struct {
		need Need
		may  []string
	}{
		"MayAdminister":            {Caller.MayAdminister, []string{"administrator", "trusted"}},
		"MayEditUsers":             {Caller.MayEditUsers, []string{"administrator", "editor", "trusted"}},
		"MayChange":                {func(c Caller) error { return c.MayChange(other) }, []string{"administrator", "editor", "trusted"}},
		"MayChange, administrator": {func(c Caller) error { return c.MayChange(administrator) }, []string{"administrator", "trusted"}},
		"MayRevoke, oneself":       {func(c Caller) error { return c.MayRevoke("u") }, []string{"administrator", "editor", "trusted", "user"}},
		"MayRevoke, another":       {func(c Caller) error { return c.MayRevoke("o") }, []string{"administrator", "editor", "trusted"}},
		"MayRevoke, the user \"\"": {func(c Caller) error { return c.MayRevoke("") }, []string{"administrator", "editor", "trusted"}},
		"MayUse":                   {mayIssue, []string{"client", "trusted"}},
		"MayUse, an unknown kind":  {func(c Caller) error { return c.MayUse("x") }, []string{"trusted"}},
		"MayContinue":              {Caller.MayContinue, []string{"administrator", "client", "editor", "trusted", "user"}},
	} {
		var may []string
		for _, name := range slices.Sorted(maps.Keys(callers)) {
			if tt.need(callers[name]) == nil {
				may = append(may, name)
			}
		}
		if !slices.Equal(may, tt.may) {
			t.Errorf("%s: %q may, want %q", what, may, tt.may)
		}
	}
}
