package account

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Users returns a page of the users that search finds: by the beginning of the name,
// of a later word in it, or of the email address, in any case and normalization form,
// or by the whole id. "id:…" finds only that id, and "name:…" finds no id; "" finds all
// users, by name. See store.UserReader.Users for the order. cursor is the next of the
// previous page. next is "" at the end.
func (s *Service) Users(ctx context.Context, c authz.Caller, search, cursor string, limit int) (users []store.User, next string, err error) {
	if err := c.MayEditUsers(); err != nil {
		return nil, "", err
	}
	by := searched(search)
	if by == (store.UserSearch{}) && search != "" {
		return nil, "", nil
	}
	return s.store.Users(ctx, by, cursor, limit)
}

// UserFilter selects users; see [Service.Users] for the search. The zero value selects
// all of them.
type UserFilter struct {
	Search                         string
	Disabled, Administrators, Live bool // Live: with a live session
	Linked                         bool // with an account at an identity provider
	Group                          string
	Sort                           store.UserSort
}

// UsersWhere returns a page of the users that a filter selects, at most limit of them, and
// how many it selects in all. cursor is the next of the previous page. next is "" at the
// end. The error is store.ErrNotFound if cursor is no next of a page in this order.
func (s *Service) UsersWhere(ctx context.Context, c authz.Caller, f UserFilter, cursor string, limit int) (users []store.User, next string, total int64, err error) {
	if err := c.MayEditUsers(); err != nil {
		return nil, "", 0, err
	}
	by := store.UserFilter{
		Search: searched(f.Search), Disabled: f.Disabled, Administrators: f.Administrators, Linked: f.Linked, Group: norm.NFC.String(f.Group), Sort: f.Sort,
	}
	if by.Search == (store.UserSearch{}) && f.Search != "" {
		return nil, "", 0, nil
	}
	if f.Live {
		live, err := authz.LiveAt(ctx, s.store, s.now())
		if err != nil {
			return nil, "", 0, err
		}
		by.Live = &live
	}
	return s.store.UsersWhere(ctx, by, cursor, limit)
}

// searched returns the search that a text means; the zero value if it can mean no user.
func searched(search string) (by store.UserSearch) {
	text, byID, byName := parseHandle(search)
	if byID && token.ValidSubject(text) {
		by.ID = text
	}
	if byName {
		if _, key, err := NormalizeName(text); err == nil {
			by.Prefix = key
		} else {
			by.Prefix = store.Fold(strings.TrimSpace(text))
		}
	}
	return by
}

// User returns a user.
func (s *Service) User(ctx context.Context, c authz.Caller, id string) (store.User, error) {
	if err := c.MayEditUsers(); err != nil {
		return store.User{}, err
	}
	return s.store.User(ctx, id)
}

// UsersByEmail returns the users with an email address, for clients that may
// revoke their sessions.
func (s *Service) UsersByEmail(ctx context.Context, c authz.Caller, email string) ([]store.User, error) {
	if err := c.MayUse(store.Revoke); err != nil {
		return nil, err
	}
	users, err := s.store.UsersByEmail(ctx, email)
	if composed := norm.NFC.String(email); composed != email && err == nil {
		more, err := s.store.UsersByEmail(ctx, composed)
		return append(users, more...), err
	}
	return users, err
}

// UserChange is a change of a user. Members that are nil stay as they are.
type UserChange struct {
	Name        *string
	Email       *string // "" removes it
	Password    *string
	Permissions *[]string
	Groups      *[]string // names; see [Service.ChangeUser]
	Disabled    *bool
	// MustChangePassword: the user must choose a new password at the next sign-in with
	// a password. It ends no session.
	MustChangePassword *bool
}

// draft is a change of a user that was checked.
type draft struct {
	change   UserChange
	name     string
	nameKey  string
	email    string // in NFC
	groups   []string
	password string // hash; "" for none
}

// read checks every member of a change of the user before, and reports everything
// that is wrong.
func (s *Service) read(ctx context.Context, change UserChange, before store.User) (draft, error) {
	d := draft{change: change}
	var wrong Invalid
	note := func(err error) {
		if i, ok := errors.AsType[*Invalid](err); ok {
			wrong.Fields = append(wrong.Fields, i.Fields...)
		}
	}
	if change.Name != nil {
		var err error
		d.name, d.nameKey, err = NormalizeName(*change.Name)
		note(err)
	}
	if change.Email != nil {
		if d.email = norm.NFC.String(*change.Email); d.email != "" {
			note(checkEmail(d.email))
		}
	}
	if change.Permissions != nil {
		for _, p := range *change.Permissions {
			if !slices.Contains(store.Permissions(), p) {
				note(InvalidField("permissions", "contains %q; valid values are %s", p, oneOf(store.Permissions())))
			}
		}
	}
	if change.Groups != nil {
		var err error
		d.groups, err = NormalizeGroups(*change.Groups)
		note(err)
	}
	if change.Password != nil {
		u := before
		d.applyTo(&u)
		note(CheckPassword("password", *change.Password, before.Name, u.Name, u.Email))
	}
	if len(wrong.Fields) > 0 {
		return d, &wrong
	}
	if change.Password != nil {
		var err error
		if d.password, err = s.hash(ctx, *change.Password); err != nil {
			return d, err
		}
	}
	return d, nil
}

// applyTo applies the change to u.
func (d *draft) applyTo(u *store.User) {
	if d.change.Name != nil {
		u.Name, u.NameKey = d.name, d.nameKey
	}
	if d.change.Email != nil {
		u.Email = d.email
	}
	if d.password != "" {
		u.PasswordHash = d.password
	}
	if d.change.Permissions != nil {
		u.Permissions = slices.Clone(*d.change.Permissions)
		slices.Sort(u.Permissions)
		u.Permissions = slices.Compact(u.Permissions)
	}
	if d.change.Groups != nil {
		u.Groups = d.groups
	}
	if d.change.Disabled != nil {
		u.Disabled = *d.change.Disabled
	}
	if d.change.MustChangePassword != nil {
		u.MustChangePassword = *d.change.MustChangePassword
	}
}

// CreateUser creates a user; a name is required. Without a password only clients
// can begin sessions for the user. Only administrators can give permissions.
func (s *Service) CreateUser(ctx context.Context, c authz.Caller, change UserChange) (store.User, error) {
	need := authz.Need(authz.Caller.MayEditUsers)
	if change.Permissions != nil && len(*change.Permissions) > 0 {
		need = authz.Recently(authz.ChangePermissions, authz.Caller.MayAdminister)
	}
	if change.Groups != nil && len(*change.Groups) > 0 {
		need = authz.Recently(authz.ChangeGroups, need)
	}
	if err := need(c); err != nil { // before a hash is spent on it; again by insert
		return store.User{}, err
	}
	if change.Name == nil {
		return store.User{}, InvalidField("name", "is required")
	}
	d, err := s.read(ctx, change, store.User{})
	if err != nil {
		return store.User{}, s.alsoTaken(ctx, d, err)
	}
	u := store.User{ID: newID(), Permissions: []string{}, CreatedAt: s.now().UnixMicro()}
	d.applyTo(&u)
	return u, s.insert(ctx, c, need, u)
}

// alsoTaken adds to what is wrong with a new user that the name is taken. The insert
// would say so, but only when all else is right.
func (s *Service) alsoTaken(ctx context.Context, d draft, err error) error {
	wrong, ok := errors.AsType[*Invalid](err)
	if !ok || d.nameKey == "" {
		return err
	}
	if _, lookupErr := s.store.UserByName(ctx, d.nameKey); lookupErr != nil {
		return err // it is free, or the insert will tell
	}
	taken := wire.FieldError{Field: "name", Detail: "is the name of another user"}
	return &Invalid{Fields: append([]wire.FieldError{taken}, wrong.Fields...)}
}

// mayIssue is the need of EnsureUser.
var mayIssue = authz.Using(store.Issue)

// insert adds a user for a caller.
func (s *Service) insert(ctx context.Context, c authz.Caller, need authz.Need, u store.User) error {
	return nameTaken(s.store.Record(ctx, c, need, func(tx authz.Tx) error { return insert(ctx, tx, c.Actor, u) }))
}

func insert(ctx context.Context, tx store.Tx, actor store.Actor, u store.User) error {
	if err := unlikeOtherUsers(ctx, tx, store.User{}, u); err != nil {
		return err
	}
	if err := tx.InsertUser(ctx, u); err != nil {
		return err
	}
	return tx.AppendAudit(ctx, created(actor, u))
}

// created is the audit entry of a new user.
func created(actor store.Actor, u store.User) store.Audit {
	return store.Audit{
		At: u.CreatedAt, Actor: actor, Action: wire.ActionUserCreate, TargetKind: "user", TargetID: u.ID, TargetName: u.Name,
		Detail: detail(membersOf(u)),
	}
}

// membersOf are the members of a new or deleted user in the audit.
func membersOf(u store.User) map[string]any {
	return map[string]any{
		"email": u.Email, "permissions": u.Permissions, "groups": append([]string{}, u.Groups...), "disabled": u.Disabled,
		"must_change_password": u.MustChangePassword,
	}
}

// nameTaken returns ErrNameTaken for a conflict of the store, and other errors as
// they are.
func nameTaken(err error) error {
	if errors.Is(err, store.ErrConflict) && !errors.Is(err, ErrLastAdministrator) {
		return ErrNameTaken
	}
	return err
}

func detail(members map[string]any) string {
	b, err := json.Marshal(members)
	if err != nil {
		panic(err) // texts, lists of texts and booleans
	}
	return string(b)
}

// ChangeUser changes the given members. Disabling, a new password and leaving a
// group revoke the user's sessions in the same transaction, and the revocation is
// returned, else nil. Tokens carry the names of groups, and services elsewhere decide
// by them. The last enabled administrator can be neither disabled nor demoted. The
// caller's own password, email and groups are refused: see notOwn.
func (s *Service) ChangeUser(ctx context.Context, c authz.Caller, id string, change UserChange, reason string) (store.User, *revocation.Revocation, error) {
	if err := c.MayEditUsers(); err != nil {
		return store.User{}, nil, err
	}
	if err := CheckReason(reason); err != nil {
		return store.User{}, nil, err
	}
	if c.IsSelf(id) {
		if err := notOwn(change); err != nil {
			return store.User{}, nil, err
		}
	}
	before, err := s.store.User(ctx, id)
	if err == nil {
		err = mayChange(c, before, change) // before a hash is spent on it; again below
	}
	if err != nil {
		return store.User{}, nil, err
	}
	d, err := s.read(ctx, change, before)
	if err != nil {
		return store.User{}, nil, err
	}
	var u store.User
	var revoked *revocation.Revocation
	// The lock of the clock orders this transaction after every other change of an
	// administrator, so that two administrators cannot demote each other.
	err = s.store.Update(ctx, c, authz.Caller.MayEditUsers, func(tx authz.Tx) error {
		old, err := tx.LockUser(ctx, id)
		if err != nil {
			return err
		}
		if err := mayChange(tx.Caller, old, change); err != nil {
			return err
		}
		u = old
		d.applyTo(&u)
		if err := unlikeOtherUsers(ctx, tx, old, u); err != nil {
			return err
		}
		if err := tx.UpdateUser(ctx, u); err != nil {
			return err
		}
		if isAdministrator(old) && !old.Disabled && (u.Disabled || !isAdministrator(u)) {
			if err := administratorLeft(ctx, tx); err != nil {
				return err
			}
		}
		revoked = nil
		if u.Disabled && !old.Disabled || d.password != "" || leaves(old.Groups, u.Groups) {
			revoked = &revocation.Revocation{Scope: revocation.User(id), Epoch: tx.Epoch}
			if _, err := tx.AddUserReceipt(ctx, s.now(), u, 0, cmp.Or(reason, cause(old, u))); err != nil {
				return err
			}
			if err := tx.PutRevocations(ctx, *revoked); err != nil {
				return err
			}
		}
		if d.password != "" {
			if err := tx.EndStreak(ctx, accountKeys(u)...); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, entries(c.Actor, old, u, d.password != "", reason, s.now().UnixMicro(), tx.Epoch, revoked != nil)...)
	})
	if err != nil {
		return store.User{}, nil, nameTaken(err)
	}
	if revoked != nil {
		s.applied(*revoked)
	}
	return u, revoked, nil
}

// cause says why a change ends the sessions of a user, for a receipt without a reason.
func cause(old, u store.User) string {
	switch {
	case u.Disabled && !old.Disabled:
		return "account disabled"
	case u.PasswordHash != old.PasswordHash:
		return PasswordChanged
	}
	return "left a group"
}

// notOwn refuses changes that users cannot make to their own account this way. With
// only a session, a thief could otherwise set a password without the current one,
// or an email to which other systems send sign-in links, and an editor of users could
// join the groups by which services give access.
func notOwn(change UserChange) error {
	var wrong Invalid
	if change.Password != nil {
		wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "password",
			Detail: "can't be changed here for your own account; use PUT /v1/users/me/password or the profile page, with the current password"})
	}
	if change.Email != nil {
		wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "email",
			Detail: "can't be changed on your own account; another user with UserEdit or AdministerSystem can change it"})
	}
	if change.Groups != nil {
		wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "groups",
			Detail: "can't be changed on your own account; another user with UserEdit or AdministerSystem can change them"})
	}
	if change.MustChangePassword != nil {
		wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "must_change_password",
			Detail: "can't be changed on your own account; another user with UserEdit or AdministerSystem can change it"})
	}
	if len(wrong.Fields) > 0 {
		return &wrong
	}
	return nil
}

func mayChange(c authz.Caller, u store.User, change UserChange) error {
	if change.Permissions != nil {
		if err := c.MayAdminister(); err != nil {
			return err
		}
	}
	if err := c.MayChange(u); err != nil {
		return err
	}
	if change.Permissions != nil {
		if err := c.CheckRecent(authz.ChangePermissions); err != nil {
			return err
		}
	}
	if change.Groups != nil {
		if err := c.CheckRecent(authz.ChangeGroups); err != nil {
			return err
		}
	}
	return c.CheckRecent(operationOn(c, u))
}

// operationOn returns the operation of a caller that changes the account of u.
func operationOn(c authz.Caller, u store.User) authz.Operation {
	if isAdministrator(u) && !c.IsSelf(u.ID) {
		return authz.ChangeAdministrator
	}
	return authz.ChangeOrdinaryUser
}

// entries are the audit entries of a change, one for each kind of change. Only one
// of them carries the scope of the revocation, because it represents the receipt.
func entries(actor store.Actor, old, u store.User, password bool, reason string, at int64, epoch revocation.Epoch, revoked bool) []store.Audit {
	var out []store.Audit
	add := func(action string, members map[string]any) *store.Audit {
		e := store.Audit{At: at, Actor: actor, Action: action, TargetKind: "user", TargetID: u.ID, TargetName: u.Name, Reason: reason, Epoch: epoch}
		if members != nil {
			e.Detail = detail(members)
		}
		out = append(out, e)
		return &out[len(out)-1]
	}
	revokes := func(e *store.Audit) {
		if revoked {
			e.Scope = revocation.KindUser
			revoked = false
		}
	}
	changed := map[string]any{}
	if old.Name != u.Name {
		changed["name"] = map[string]string{"from": old.Name, "to": u.Name}
	}
	if old.Email != u.Email {
		changed["email"] = map[string]string{"from": old.Email, "to": u.Email}
	}
	if old.MustChangePassword != u.MustChangePassword {
		changed["must_change_password"] = map[string]bool{"from": old.MustChangePassword, "to": u.MustChangePassword}
	}
	if len(changed) > 0 {
		add(wire.ActionUserChange, changed)
	}
	if !slices.Equal(old.Permissions, u.Permissions) {
		add(wire.ActionUserPermissions, map[string]any{"from": old.Permissions, "to": u.Permissions})
	}
	if !slices.Equal(old.Groups, u.Groups) {
		e := add(wire.ActionUserGroups, map[string]any{"from": append([]string{}, old.Groups...), "to": append([]string{}, u.Groups...)})
		if leaves(old.Groups, u.Groups) {
			revokes(e)
		}
	}
	switch {
	case u.Disabled && !old.Disabled:
		revokes(add(wire.ActionUserDisable, nil))
	case !u.Disabled && old.Disabled:
		add(wire.ActionUserEnable, nil)
	}
	if password {
		revokes(add(wire.ActionUserPassword, nil))
	}
	if revoked && len(out) > 0 { // for a permission that a provider no longer gives
		out[0].Scope = revocation.KindUser
	}
	return out
}

// EnsureUser returns the user with an id. If there is none, it creates one without
// a password and with the id as name. The error is [ErrNameTaken] if the id is the
// name or the email address of another user, or looks like the name or the id of one.
func (s *Service) EnsureUser(ctx context.Context, c authz.Caller, id string) (store.User, error) {
	if err := mayIssue(c); err != nil {
		return store.User{}, err
	}
	if !token.ValidSubject(id) {
		return store.User{}, InvalidField("id", "must be 1 to 128 ASCII letters, digits and . _ ~ : @ - |")
	}
	u := store.User{ID: id, Permissions: []string{}, CreatedAt: s.now().UnixMicro()}
	var err error
	if u.Name, u.NameKey, err = NormalizeName(id); err != nil {
		return store.User{}, err
	}
	err = s.insert(ctx, c, mayIssue, u)
	if _, invalid := errors.AsType[*Invalid](err); invalid { // the id is the address of another user
		err = ErrNameTaken
	}
	if !errors.Is(err, store.ErrConflict) {
		return u, err
	}
	if found, err := s.store.User(ctx, id); !errors.Is(err, store.ErrNotFound) {
		return found, err
	}
	return store.User{}, err
}

// firstName is the name that the first account is created with.
const firstName = "admin"

// Bootstrap creates the first account, `admin`, an administrator, if there is no
// user. If password is "", it generates one and calls keep to deliver it before the
// account exists, because an account with a lost password is of no use. It may call
// keep and create no account, if another node was faster. keep returns the file that it
// wrote, as host:path, or "" if it wrote none: see [FirstPassword].
func (s *Service) Bootstrap(ctx context.Context, password string, keep func(generated string) (file string, err error)) (made bool, err error) {
	n, err := s.store.CountUsers(ctx)
	if err != nil || n > 0 {
		return false, err
	}
	var record firstRecord
	if password == "" {
		password, record.Generated = GeneratePassword(), true
		if record.File, err = keep(password); err != nil {
			return false, err
		}
	}
	if err := CheckPassword("password", password); err != nil {
		return false, err
	}
	u := store.User{
		ID: newID(), Name: firstName, NameKey: firstName, Permissions: []string{store.AdministerSystem},
		CreatedAt: s.now().UnixMicro(),
	}
	if u.PasswordHash, err = s.hash(ctx, password); err != nil {
		return false, err
	}
	entry := created(store.Actor{Kind: store.ActorSystem}, u)
	members := membersOf(u)
	members[firstRecordName] = record
	entry.Detail = detail(members)
	err = nameTaken(s.store.UpdateWithoutCaller(ctx, func(tx store.Tx) error {
		return errors.Join(tx.InsertUser(ctx, u), tx.AppendAudit(ctx, entry))
	}))
	if errors.Is(err, store.ErrConflict) {
		return false, nil // another node was quicker
	}
	return err == nil, err
}
