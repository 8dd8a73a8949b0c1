package account

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
)

// Claims are what a provider says of a user. oidc.Claims implements it.
type Claims interface {
	// Text returns a claim that is a string; "" if there is none.
	Text(name string) string
	// Texts returns a claim that is an array of strings, or one string. A missing claim
	// has no texts.
	Texts(name string) ([]string, error)
	// EmailVerified reports whether the provider has verified the claim email.
	EmailVerified() bool
}

// Subject is an account at a provider's issuer, whose user has just authenticated there.
type Subject struct {
	Issuer, ID string
	Claims     Claims
}

// The claims that every provider names alike (OpenID Connect Core, section 5.1).
const (
	claimEmail    = "email"
	claimUserName = "preferred_username" // the name claim of a new provider
)

// The reasons of [NotAdmitted].
const (
	NotAdmittedDomain    = "email_domain"       // no verified address of an allowed domain
	NotAdmittedGroup     = "group"              // in none of the allowed groups
	NotAdmittedUnknown   = "unknown_user"       // has no account, and none is created
	NotAdmittedName      = "name"               // the name claim is missing or is no name
	NotAdmittedNameTaken = "name_taken"         // the name belongs to another user
	NotAdmittedEmail     = "email_linked"       // the user with the address belongs to another subject
	NotAdmittedGroups    = "groups"             // the groups can't be stored
	NotAdmittedLastAdmin = "last_administrator" // would lose the permission
	NotAdmittedACR       = "acr"                // not the authentication that the operator requires
	NotAdmittedDisabled  = "disabled"           // the user is disabled
)

// NotAdmitted is the error of a subject that may not sign in here. The provider has
// authenticated it.
type NotAdmitted struct {
	Reason string // one of the constants
	Detail string // the fault and the remedy, a sentence without a period
	User   store.User
}

func (e *NotAdmitted) Error() string { return e.Detail }

// Excluded reports whether the provider's claims put the subject outside of those who may
// sign in. What the user began while they did not must end.
func (e *NotAdmitted) Excluded() bool {
	return e.Reason == NotAdmittedDomain || e.Reason == NotAdmittedGroup
}

func notAdmitted(reason, format string, args ...any) error {
	return &NotAdmitted{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Admission is the decision that a subject may sign in as a user, before it is written.
type Admission struct {
	// User is the user as the provider's claims make it.
	User store.User
	// New means that User does not exist yet.
	New bool

	before   store.User
	identity store.Identity
	linked   bool // the identity is a new one
	// orphan means that the identity is linked to a user who is gone: a node of an earlier
	// release deletes users without their identities.
	orphan   bool
	provider store.Provider
	at       int64
}

// Admit decides in a transaction whether a subject may sign in through a provider, and
// as which user. The transaction holds the epoch clock, so that the user is neither
// disabled nor revoked until it ends; Admit locks the user. It writes nothing; see
// [Admission.Write]. Errors are [NotAdmitted], those of the claims and of the store.
//
// A subject is known by issuer and subject alone: names and addresses are given to other
// people. An address links it to a user only if the provider has verified it, the
// operator has allowed that, and the user has no subject yet, of any issuer: another
// provider may have created the user with an address of its choice.
func (s *Service) Admit(ctx context.Context, tx store.Tx, p store.Provider, subject Subject) (*Admission, error) {
	groups, err := groupsOf(p, subject.Claims)
	if err != nil {
		return nil, err
	}
	if err := allowed(p, subject.Claims, groups); err != nil {
		return nil, err
	}
	a := &Admission{provider: p, at: s.now().UnixMicro()}
	a.identity = store.Identity{Issuer: subject.Issuer, Subject: subject.ID, Provider: p.Name, LinkedAt: a.at}
	known, err := a.find(ctx, tx)
	if err == nil && !known {
		// Sign-ins that create or link users decide one after the other: two that have
		// the same address must not both find that no other user or subject has it.
		if err = tx.LockNames(ctx); err == nil {
			known, err = a.find(ctx, tx) // perhaps the same user in another tab was first
		}
	}
	if err == nil && !known {
		a.linked = true
		err = a.link(ctx, tx, subject)
	}
	if err != nil {
		return nil, err
	}
	a.identity.LastSignInAt = a.at
	if a.User.Disabled {
		return nil, &NotAdmitted{NotAdmittedDisabled, "the account is disabled; an administrator can enable it", a.User}
	}
	a.identity.UserID = a.User.ID
	if err := follow(p, &a.User, groups); err != nil {
		if refused, ok := errors.AsType[*NotAdmitted](err); ok {
			refused.User = a.before
		}
		return nil, err
	}
	return a, nil
}

// find reports whether the identity is linked to a user, and then locks the user.
func (a *Admission) find(ctx context.Context, tx store.Tx) (bool, error) {
	a.orphan = false
	known, err := tx.Identity(ctx, a.identity.Issuer, a.identity.Subject)
	if err == nil {
		a.before, err = tx.LockUser(ctx, known.UserID)
		a.orphan = errors.Is(err, store.ErrNotFound)
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	a.identity, a.User = known, a.before
	return err == nil, err
}

// link decides which user the subject gets that is linked to none: the user with its
// address, or a new one. The transaction has locked the names.
func (a *Admission) link(ctx context.Context, tx store.Tx, subject Subject) error {
	id, err := linkedByEmail(ctx, tx, a.provider, subject)
	switch {
	case err != nil:
		return err
	case id == "":
		a.New = true
		a.User, err = newUser(ctx, tx, a.provider, subject.Claims, a.at)
	default:
		a.before, err = tx.LockUser(ctx, id)
		a.User = a.before
	}
	return err
}

// groupsOf returns the groups that a provider says a user is in.
func groupsOf(p store.Provider, claims Claims) ([]string, error) {
	if p.GroupsClaim == "" {
		return nil, nil
	}
	return claims.Texts(p.GroupsClaim)
}

// allowed checks that a provider's users with these claims may sign in.
func allowed(p store.Provider, claims Claims, groups []string) error {
	if len(p.AllowedEmailDomains) > 0 {
		email, domain := verifiedEmail(claims), ""
		if email != "" {
			domain = email[strings.LastIndexByte(email, '@')+1:]
		}
		if !slices.ContainsFunc(p.AllowedEmailDomains, func(d string) bool { return domain != "" && store.EmailKey(d) == store.EmailKey(domain) }) {
			return notAdmitted(NotAdmittedDomain, "only users with a verified email address of an allowed domain may sign in through %s", p.Name)
		}
	}
	if len(p.AllowedGroups) > 0 && !slices.ContainsFunc(p.AllowedGroups, func(g string) bool { return slices.Contains(groups, g) }) {
		return notAdmitted(NotAdmittedGroup, "only members of an allowed group may sign in through %s", p.Name)
	}
	return nil
}

// verifiedEmail returns the email address that the provider has verified; "" if there is
// none.
func verifiedEmail(claims Claims) string {
	email := emailTyped(claims.Text(claimEmail))
	if !claims.EmailVerified() || checkEmail(email) != nil {
		return ""
	}
	return email
}

// linkedByEmail returns the id of the user to whom the subject's address links it; "" if
// there is none.
func linkedByEmail(ctx context.Context, tx store.Tx, p store.Provider, subject Subject) (string, error) {
	email := verifiedEmail(subject.Claims)
	if !p.LinkByEmail || email == "" {
		return "", nil
	}
	u, err := found(tx.UserByEmail(ctx, email))
	if err != nil || u.ID == "" {
		return "", err
	}
	others, err := tx.Identities(ctx, u.ID)
	if err != nil {
		return "", err
	}
	if len(others) == 0 {
		return u.ID, nil
	}
	at := "an account at another identity provider"
	if slices.ContainsFunc(others, func(other store.Identity) bool { return other.Issuer == subject.Issuer }) {
		at = "another account at " + p.Name // which has given the address to another person
	}
	return "", &NotAdmitted{NotAdmittedEmail, "the user with this email address is linked to " + at +
		"; an administrator can unlink that account, or change the email address", u}
}

// newUser returns the user to create for a subject.
func newUser(ctx context.Context, tx store.Tx, p store.Provider, claims Claims, at int64) (store.User, error) {
	if !p.CreateUsers {
		return store.User{}, notAdmitted(NotAdmittedUnknown, "no user here is linked to this account at %s, and it does not create users; ask an administrator", p.Name)
	}
	u := store.User{ID: newID(), Permissions: []string{}, CreatedAt: at}
	text := claims.Text(p.NameClaim)
	if p.NameClaim == claimEmail && text != "" {
		// A name that is an address stands for its mailbox. A user could enter any.
		if text = verifiedEmail(claims); text == "" {
			return u, notAdmitted(NotAdmittedName, "the sign-in name is the email address, and %s does not say that it is verified", p.Name)
		}
	}
	var err error
	if u.Name, u.NameKey, err = NormalizeName(text); err != nil {
		return u, notAdmitted(NotAdmittedName, "the claim %s of %s is no valid sign-in name: %s", p.NameClaim, p.Name, firstDetail(err))
	}
	if taken, err := nameIsAddress(ctx, tx, u); err != nil || taken {
		return u, cmp.Or(err, nameIsTaken(u.Name))
	}
	// Services may know users by address: the address of another user, or that is the name
	// of another user, is not given again. The user gets an account without it: the other
	// one must not keep the owner of an address out.
	u.Email = verifiedEmail(claims)
	others, err := tx.UsersByEmail(ctx, u.Email)
	named, namedErr := addressIsName(ctx, tx, u)
	if err := cmp.Or(err, namedErr); err != nil {
		return u, err
	}
	if len(others) > 0 || named {
		u.Email = ""
	}
	return u, nil
}

func nameIsTaken(name string) error {
	return notAdmitted(NotAdmittedNameTaken, "the sign-in name %q belongs to another user, or looks like such a name; ask an administrator", name)
}

// firstDetail returns the text about the first invalid field.
func firstDetail(err error) string {
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		return invalid.Fields[0].Detail
	}
	return err.Error()
}

// follow sets groups and permissions as the provider says. Permissions that none of the
// provider's groups gives stay as they are.
func follow(p store.Provider, u *store.User, groups []string) error {
	if p.GroupsClaim == "" {
		return nil
	}
	var err error
	if u.Groups, err = NormalizeGroups(groups); err != nil {
		return notAdmitted(NotAdmittedGroups, "the groups that %s sends can't be stored: they %s; an administrator can make it send fewer or other groups", p.Name, firstDetail(err))
	}
	// A name that would be stored in another spelling must not become that of another group.
	if i := slices.IndexFunc(groups, func(group string) bool { return !slices.Contains(u.Groups, group) }); i >= 0 {
		return notAdmitted(NotAdmittedGroups, "the groups that %s sends can't be stored: the name %q has spaces at its ends, two in a row, or letters that are not "+
			"composed (Unicode NFC); an administrator can rename the group there", p.Name, shortened(groups[i]))
	}
	permissions := []string{}
	for _, permission := range store.Permissions() {
		held := u.Has(permission)
		given := givenTo(p.GroupPermissions, permission)
		if len(given) > 0 {
			held = slices.ContainsFunc(given, func(group string) bool { return slices.Contains(groups, group) })
		}
		if held {
			permissions = append(permissions, permission)
		}
	}
	slices.Sort(permissions)
	u.Permissions = permissions
	return nil
}

// givenTo returns the groups whose members hold a permission.
func givenTo(permissions map[string][]string, permission string) []string {
	var groups []string
	for group, gives := range permissions {
		if slices.Contains(gives, permission) {
			groups = append(groups, group)
		}
	}
	return groups
}

// Revokes reports whether the user loses a group or a permission, which ends the user's
// sessions.
func (a *Admission) Revokes() bool {
	return !a.New && (leaves(a.before.Groups, a.User.Groups) || leaves(a.before.Permissions, a.User.Permissions))
}

// Write writes the admission in the transaction that has decided it. epoch is the
// transaction's; 0 unless it revokes the user's sessions, which is the caller's to write.
// If the error is [NotAdmitted], Write has changed nothing: the caller may commit what it
// has written itself.
func (a *Admission) Write(ctx context.Context, tx store.Tx, from authz.Origin, epoch revocation.Epoch) error {
	actor := store.Actor{Kind: store.ActorSystem, Address: from.Address, RequestID: from.RequestID}
	reason := "sign-in through " + a.provider.Name
	var entered []store.Audit
	if a.New {
		err := nameTaken(tx.InsertUser(ctx, a.User))
		if errors.Is(err, ErrNameTaken) {
			return nameIsTaken(a.User.Name)
		}
		if err != nil {
			return err
		}
		e := created(actor, a.User)
		e.Reason = reason
		entered = append(entered, e)
	} else if changes := entries(actor, a.before, a.User, false, reason, a.at, epoch, a.Revokes()); len(changes) > 0 {
		if err := tx.UpdateUser(ctx, a.User); err != nil {
			return err
		}
		if err := a.leavesAdministrator(ctx, tx); err != nil {
			return err
		}
		entered = changes
	}
	if a.orphan {
		if err := tx.DeleteIdentity(ctx, a.identity.Issuer, a.identity.Subject); err != nil {
			return err
		}
	}
	if err := tx.PutIdentity(ctx, a.identity); err != nil {
		return err
	}
	if a.linked {
		entered = append(entered, store.Audit{
			At: a.at, Actor: actor, Action: wire.ActionUserLink, TargetKind: "user", TargetID: a.User.ID, TargetName: a.User.Name, Reason: reason,
			Detail: detail(map[string]any{"provider": a.provider.Name, "issuer": a.identity.Issuer, "subject": a.identity.Subject}),
		})
	}
	return tx.AppendAudit(ctx, entered...)
}

// leavesAdministrator refuses to take the permission from the last administrator who can
// sign in, and gives it back.
func (a *Admission) leavesAdministrator(ctx context.Context, tx store.Tx) error {
	if !isAdministrator(a.before) || isAdministrator(a.User) {
		return nil
	}
	err := administratorLeft(ctx, authz.Tx{Tx: tx})
	if errors.Is(err, ErrLastAdministrator) {
		if err := tx.UpdateUser(ctx, a.before); err != nil {
			return err
		}
		return &NotAdmitted{NotAdmittedLastAdmin, fmt.Sprintf("%s no longer lists this user in a group of administrators, and no other administrator could sign in; "+
			"make another user an administrator, or add the user to the group", a.provider.Name), a.before}
	}
	return err
}
