package store

import (
	"context"
	"errors"
	"time"

	"example.com/curfew/revocation"
)

// The errors of a store; every error wraps one of them.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict") // a name that is taken, a row that exists
	// ErrUnavailable: the store could not be asked, or did not answer in time. A
	// write that ends so may have happened or not.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrNotReady: the database was not reached for a reason that can pass by itself:
	// its server is not up yet, starts, or has no connection left. Comes with
	// ErrUnavailable, and only from opening a store.
	ErrNotReady = errors.New("not ready")
	// ErrNoDatabase: the server has no database of that name. Comes with
	// ErrUnavailable, and only from opening a store.
	ErrNoDatabase  = errors.New("no such database")
	ErrNewerSchema = errors.New("the database was written by a newer version of Curfew")
	ErrOlderSchema = errors.New("the database must be migrated")
	ErrForeign     = errors.New("the database is not Curfew's")
	ErrCorrupt     = errors.New("the database is damaged")
	ErrLocked      = errors.New("the database is locked by another process")
	// ErrDisk: the disk takes no writes, since it is full or fails; what it holds
	// can be read all the same. Comes with ErrUnavailable, and from SQLite alone:
	// it serves one server, whose writers all use the same disk.
	ErrDisk = errors.New("the disk is not writable")
)

// Store is a database. It is safe for concurrent use.
type Store interface {
	Reader

	// Update runs write in one transaction and commits it. When it returns nil
	// the transaction is on disk. When write returns an error nothing has
	// happened, and Update returns that error. write may be run more than once
	// (a deadlock, a lost race): it must not change anything outside.
	//
	// A write that changes shared state must call Advance before anything else,
	// so that the lock of the clock orders it. write is bounded in time (seconds),
	// and must not call Update.
	Update(ctx context.Context, write func(Tx) error) error

	// RecordUses raises LastUsedAt of sessions that have not ended, each at most once
	// in a window; unknown ids are no error. It is one statement, which takes no lock
	// of the epoch clock. PostgreSQL: it skips rows that other transactions are
	// writing, and a crash of the server can undo it. A failed call may be repeated.
	RecordUses(ctx context.Context, uses []Use) error

	// Watch returns a channel that receives a value soon after something may have
	// changed, by whichever process (PostgreSQL: NOTIFY; SQLite: data_version).
	// It is only a wake-up: some may be missed, and some are for nothing. The
	// channel is closed when ctx ends, or with the store.
	Watch(ctx context.Context) <-chan struct{}

	// WatchError returns why Watch does not wake for changes by other processes, as
	// last noticed, or nil. Watchers have to poll for as long as it is not nil. It is
	// nil before the first Watch, and always for SQLite.
	WatchError() error

	// Backup writes a consistent copy to a new file (SQLite only). ErrConflict if
	// the file exists.
	Backup(ctx context.Context, file string) error
	// Warnings returns settings of the database under which an acknowledged write
	// can be lost, in words for the start-up log.
	Warnings(ctx context.Context) []string
	// Engine returns "sqlite" or "postgres".
	Engine() string
	Close() error
}

// Tx is a transaction that may write. It sees its own writes.
type Tx interface {
	Reader
	Writer
}

// Reader reads. Outside a transaction every method is a reading of its own, of
// what has been committed.
type Reader interface {
	ClockReader
	UserReader
	ClientReader
	SessionReader
	SettingsReader
	KeyReader
	AuditReader
	ReceiptReader
	NodeReader
	ProviderReader
}

// Writer writes.
type Writer interface {
	// Advance raises the epoch clock to max(clock + 1, now in µs) and returns it.
	// Its lock is held until the transaction ends, so order of epochs is order of
	// commits. It also wakes the watchers of other processes on commit.
	Advance(ctx context.Context, now time.Time) (revocation.Epoch, error)
	// HoldClock holds the clock without advancing it: no other transaction advances
	// it until this one ends, and changes committed with an earlier epoch are seen.
	// Several transactions may hold it. Advance fails in a transaction that holds
	// it.
	HoldClock(ctx context.Context) error
	// PutRevocations raises the revoked-before of scopes; a lower epoch changes nothing.
	PutRevocations(ctx context.Context, revocations ...revocation.Revocation) error
	// Prune removes rows that can no longer affect a decision: revocations of users
	// and sessions at or below upTo (the caller raises everyone to upTo in the same
	// transaction), session rows that ended or expired before sessions, audit
	// entries and receipts before audit (both µs), failed sign-ins after a day, streaks of them
	// after 30 days without one, nodes that have not moved since an earlier Prune a
	// week ago, the provider sessions of session rows that are gone, and logout tokens
	// and ended provider sessions after an hour. The caller has called Advance.
	Prune(ctx context.Context, upTo revocation.Epoch, sessions, audit int64) error

	UserWriter
	ClientWriter
	SessionWriter
	SettingsWriter
	KeyWriter
	AuditWriter
	ReceiptWriter
	NodeWriter
	ProviderWriter
}

// ClockReader reads the shared state by epoch.
type ClockReader interface {
	// Clock returns the epoch clock.
	Clock(ctx context.Context) (revocation.Epoch, error)
	// ChangesAfter returns what has an epoch above after. It reads the clock
	// first, then the rows, with no upper bound. At about limit revocations it
	// stops, with More set and Epoch the last one included; it never splits an
	// epoch, and rather returns more.
	ChangesAfter(ctx context.Context, after revocation.Epoch, limit int) (Changes, error)
	// RevokedBefore returns what concerns one session, the clock read first.
	RevokedBefore(ctx context.Context, user, session string) (RevokedBefore, error)
	// RevocationsOf returns what was ever revoked of the scopes everyone,
	// remembered, and the users and sessions with the ids given (up to 10 000 of
	// each), in no order.
	RevocationsOf(ctx context.Context, users, sessions []string) ([]revocation.Revocation, error)
	// CountRevocations returns the number of revocations of users and sessions.
	CountRevocations(ctx context.Context) (int64, error)
}

// UserReader reads accounts.
type UserReader interface {
	User(ctx context.Context, id string) (User, error)
	UserByName(ctx context.Context, nameKey string) (User, error)
	// UsersByEmail compares without regard to ASCII case; no user is no error.
	UsersByEmail(ctx context.Context, email string) ([]User, error)
	// UserByEmail returns the user with an email address, compared as UsersByEmail
	// does. The error is ErrNotFound if no user has it, or more than one.
	UserByEmail(ctx context.Context, email string) (User, error)
	// UsersWithEmails returns users with the addresses given (up to 10 000), compared
	// as UsersByEmail does, in no order: of each address at most two users, which
	// tells whether it is unique.
	UsersWithEmails(ctx context.Context, emails []string) ([]User, error)
	// Users returns a page of users, at most limit: first the one with search.ID, then
	// those whose name begins with search.Prefix, by name key, then those found by
	// another text, by that text. Each user comes once. after is the next of the page
	// before, "" for the first page; next is "" at the end. A page may have fewer users
	// than limit, even none, and more may follow.
	Users(ctx context.Context, search UserSearch, after string, limit int) (page []User, next string, err error)
	// UsersWhere returns a page of the users that a filter selects, at most limit of them,
	// and how many it selects in all. after is the next of the page before, "" for the
	// first page; next is "" at the end. The error is ErrNotFound if after is no position
	// in the order of the filter.
	UsersWhere(ctx context.Context, f UserFilter, after string, limit int) (page []User, next string, total int64, err error)
	// UsersNamed returns the users with the ids or name keys given (up to 10 000),
	// in no order; those that do not exist are left out.
	UsersNamed(ctx context.Context, ids, nameKeys []string) ([]User, error)
	// CountAdministrators counts the enabled holders of AdministerSystem.
	CountAdministrators(ctx context.Context) (int64, error)
	CountUsers(ctx context.Context) (int64, error)
	// Failures returns the failed sign-ins counted under key since the instant
	// given (µs), as far back as a day.
	Failures(ctx context.Context, key string, since int64) (int64, error)
	// Streak returns the failed sign-ins in a row under key; zero if there are none.
	Streak(ctx context.Context, key string) (Streak, error)
}

// UserWriter writes accounts.
type UserWriter interface {
	// InsertUser fails with ErrConflict if the id or the name key is taken, if one
	// of them is the id or the name of another user or looks like it (the skeleton
	// of Unicode UTS 39, letter case aside), or if one of them or the email is
	// longer than 1024 bytes. Two calls at once are ordered, so that one sees the
	// other. The ids of deleted users count as taken.
	InsertUser(ctx context.Context, u User) error
	// UpdateUser replaces all but ID, CreatedAt and LastSignInAt. ErrNotFound; and
	// ErrConflict as InsertUser, if the name key is a new one.
	UpdateUser(ctx context.Context, u User) error
	// DeleteUser removes a user and the user's identities. The id stays taken for all
	// time; the name is free again. ErrNotFound.
	DeleteUser(ctx context.Context, id string, at int64) error
	// TouchUser sets LastSignInAt.
	TouchUser(ctx context.Context, id string, lastSignInAt int64) error
	// AddFailure counts one failed sign-in at the instant given under each key.
	AddFailure(ctx context.Context, at int64, keys ...string) error
	// AddStreak adds one failed sign-in to the streak under key.
	AddStreak(ctx context.Context, at int64, key string) error
	// EndStreak ends the streaks under the keys: a sign-in was successful.
	EndStreak(ctx context.Context, keys ...string) error
	// LockNames orders the transaction among all that call it, and that insert, rename
	// or delete users: what it reads afterwards includes what those before it have
	// written. Call it after Advance or HoldClock.
	LockNames(ctx context.Context) error
	// LockUser reads a user and holds its row until the transaction ends, so that
	// decisions based on it still hold at the commit.
	LockUser(ctx context.Context, id string) (User, error)
}

// ClientReader reads service clients.
type ClientReader interface {
	Client(ctx context.Context, id string) (Client, error) // deleted ones: ErrNotFound
	Clients(ctx context.Context) ([]Client, error)         // by name, without deleted ones
}

// ClientWriter writes service clients; PutClient inserts or replaces.
type ClientWriter interface {
	PutClient(ctx context.Context, c Client) error
}

// SessionReader reads session rows.
type SessionReader interface {
	Session(ctx context.Context, id string) (Session, error)
	// SessionsNamed returns the rows with the ids given (up to 10 000), in no order;
	// those that do not exist are left out.
	SessionsNamed(ctx context.Context, ids []string) ([]Session, error)
	// LiveSessions returns a user's live sessions, the newest first. A session is
	// live by the rules of token.Validator: time, floors, revocations and the state
	// of its key; and it has not ended.
	LiveSessions(ctx context.Context, user string, live Live) ([]Session, error)
	// SurplusSessions returns the live sessions of a user that are older than the
	// keep newest, at most limit of them.
	SurplusSessions(ctx context.Context, user string, live Live, keep, limit int) ([]Session, error)
	// CountLive counts live sessions; user "" means of all users, keyID "" of all keys.
	CountLive(ctx context.Context, live Live, user, keyID string) (Counts, error)
	// CountLiveByUser counts the live sessions of each of the users given.
	CountLiveByUser(ctx context.Context, live Live, users []string) (map[string]int64, error)
	// CountEnding counts the sessions that are live by now but not by next. If
	// next switches remember me off, remember-me sessions end, since that revokes
	// them.
	CountEnding(ctx context.Context, now, next Live) (Counts, error)
	// LiveOver returns how many sessions were live at each of the n instants from,
	// from + width, … (µs), by the settings of live: what other settings had ended
	// earlier counts for as long as those would have let it live. live.Now is not
	// looked at.
	LiveOver(ctx context.Context, live Live, from, width int64, n int) ([]int64, error)
	// KnownAddress reports whether the user began a session from the [Network] of
	// the address since the instant given (µs).
	KnownAddress(ctx context.Context, user, address string, since int64) (bool, error)
}

// SessionWriter writes session rows.
type SessionWriter interface {
	InsertSession(ctx context.Context, s Session) error
	// RefreshSession raises LastSeenAt, LastUsedAt and ExpiresAt, each if it is later,
	// and sets KeyID unless seen is earlier; a row that is missing is no error.
	RefreshSession(ctx context.Context, id string, seen, expires int64, keyID string) error
	// EndSession sets EndedAt unless it is set; a row that is missing is no error.
	EndSession(ctx context.Context, id string, at int64) error
	// AuthenticateSession sets AuthenticatedAt and ACR, unless AuthenticatedAt is
	// later: the session's user has authenticated again. A row that is missing is no
	// error.
	AuthenticateSession(ctx context.Context, id string, at int64, acr string) error
	// MoveSession sets the epoch (keep_current).
	MoveSession(ctx context.Context, id string, epoch revocation.Epoch) error
}

// SettingsReader reads settings and installation. ErrNotFound before the first start.
type SettingsReader interface {
	Settings(ctx context.Context) (Settings, error)
	Installation(ctx context.Context) (Installation, error)
}

// SettingsWriter replaces the one row of each.
type SettingsWriter interface {
	PutSettings(ctx context.Context, s Settings) error
	PutInstallation(ctx context.Context, i Installation) error
}

// KeyReader reads signing keys.
type KeyReader interface {
	Keys(ctx context.Context) ([]Key, error) // all, the oldest first
}

// KeyWriter inserts or replaces a signing key.
type KeyWriter interface {
	PutKey(ctx context.Context, k Key) error
}

// AuditFilter selects entries; zero fields do not select.
type AuditFilter struct {
	Before   int64  // entries with a lower ID: the cursor
	Actor    string // actor's id or name
	Target   string // target's id or name
	Person   string // actor's or target's id or name
	Action   string // exactly, or a prefix that ends in "."
	Reason   string // a part of the reason; the case of ASCII letters does not matter
	Address  string // exactly, or a prefix that ends in "." or ":"
	Session  string // id of the session that the entry is about, alone
	From, To int64  // µs; From ≤ at < To
	Epoch    revocation.Epoch
	Scoped   bool // only those that revoked something
}

// Bucket is a number of entries of one action in one stretch of time.
type Bucket struct {
	Start  int64 // µs
	Action string
	Known  bool // the entries have the ID of an actor
	Count  int64
}

// AuditReader reads the audit.
type AuditReader interface {
	// Audits returns entries, newest first.
	Audits(ctx context.Context, f AuditFilter, limit int) ([]Audit, error)
	// AuditBuckets counts entries of the actions since from, in stretches of width µs.
	// Entries with the ID of an actor and those without are in separate buckets.
	AuditBuckets(ctx context.Context, from, width int64, actions []string) ([]Bucket, error)
}

// AuditWriter appends to the audit; IDs are given by the store.
type AuditWriter interface {
	AppendAudit(ctx context.Context, entries ...Audit) error
}

// ReceiptFilter selects receipts; zero fields do not select.
type ReceiptFilter struct {
	Before   revocation.Epoch // receipts of lower epochs: the cursor
	User     string           // id or name of a user whose sessions it revoked, alone or among others
	By       string           // actor's id or name
	Text     string           // a part of the reason, in any ASCII case
	From, To int64            // µs; From ≤ committed at < To
}

// ReceiptReader reads receipts.
type ReceiptReader interface {
	// Receipt returns the receipt of a revocation. The error is ErrNotFound if there
	// is none: for the sign-out of one session, and for revocations of releases that
	// stored none.
	Receipt(ctx context.Context, epoch revocation.Epoch) (Receipt, error)
	// Receipts returns receipts, newest first.
	Receipts(ctx context.Context, f ReceiptFilter, limit int) ([]Receipt, error)
	// OpenReceipts returns receipts that are not closed, the oldest first.
	OpenReceipts(ctx context.Context, limit int) ([]Receipt, error)
}

// ReceiptWriter writes receipts.
type ReceiptWriter interface {
	// AddReceipts adds open receipts. The error is ErrConflict if an epoch has one.
	AddReceipts(ctx context.Context, receipts ...Receipt) error
	// CloseReceipt closes a receipt unless it is closed. It returns the receipt as it
	// is stored then. ErrNotFound.
	CloseReceipt(ctx context.Context, epoch revocation.Epoch, c Closing) (Receipt, error)
}

// NodeReader reads the nodes.
type NodeReader interface {
	Nodes(ctx context.Context) ([]Node, error)
}

// NodeWriter writes nodes; PutNode inserts or replaces, and may wake watchers.
type NodeWriter interface {
	PutNode(ctx context.Context, n Node, wake bool) error
	DeleteNode(ctx context.Context, id string) error
}
