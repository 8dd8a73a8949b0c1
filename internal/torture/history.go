// Package torture starts real Curfew processes, breaks databases and networks under
// and between them, records all requests and answers, and checks the record against
// Curfew's promises.
//
// The recorder (what happened) and the checker (what must not have) are apart: the
// checker sees nothing but the history, and has tests of its own.
package torture

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Op is the operation that was asked for.
type Op string

// The operations of a history.
const (
	OpBegin   Op = "begin"   // a session begins; Token is its first token's number
	OpRefresh Op = "refresh" // of Session, with one of its tokens
	OpCheck   Op = "check"   // of a token of Session, by Node
	OpRevoke  Op = "revoke"  // of User, or of Session if it is set
	OpChange  Op = "change"  // of the settings, to Shown
	OpShow    Op = "show"    // the revoked-before of User, or of Session if it is set, as Node shows it
	OpState   Op = "state"   // in the end: what Node says of everything, see State
	OpFault   Op = "fault"   // from Invoked to Returned something is broken
)

// What an OpState is about, besides the live sessions of a User.
const (
	StateUsers    = "users"    // Items are ids
	StateSettings = "settings" // the one item is the timeout
	StateAudit    = "audit"    // Items are the revocations in the audit: "user u 17", "session s 17"
	StateLive     = "live"     // Items are the ids of User's live sessions
)

// Outcome is how it ended.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "ok"          // begun, refreshed, valid, acknowledged
	Refused     Outcome = "refused"     // 401, or what stands for it; Reason says why
	Unavailable Outcome = "unavailable" // 503: the state is unknown
	Unknown     Outcome = "unknown"     // no answer: it may have happened or not
)

// Event is one operation, from its call to its answer. Times are ns since the
// beginning of the run, on one monotonic clock.
type Event struct {
	Op       Op      `json:"op"`
	Node     string  `json:"node,omitempty"` // who answered: a node, an edge or a follower
	User     string  `json:"user,omitempty"`
	Session  string  `json:"session,omitempty"`
	Invoked  int64   `json:"invoked"`
	Returned int64   `json:"returned"`
	Outcome  Outcome `json:"outcome,omitempty"`
	Reason   string  `json:"reason,omitempty"` // of a refusal; the name of a fault
	// Of an acknowledged revocation: its epoch (0 where the answer has none),
	// whether it held everywhere when it was answered, and from when on it must.
	Epoch      int64 `json:"epoch,omitempty"`
	Everywhere bool  `json:"everywhere,omitempty"`
	By         int64 `json:"by,omitempty"`
	// Shown is a revoked-before, or a session timeout in seconds.
	Shown int64 `json:"shown,omitempty"`
	// State says what Items are; they are sorted.
	State string   `json:"state,omitempty"`
	Items []string `json:"items,omitempty"`
	// Final marks the checks made when everything had healed.
	Final bool `json:"final,omitempty"`
}

// Recorder keeps a history and writes it down as JSON lines.
type Recorder struct {
	start time.Time

	mu     sync.Mutex
	events []Event
	out    *json.Encoder
}

// NewRecorder returns a recorder that also writes to w.
func NewRecorder(w io.Writer) *Recorder {
	return &Recorder{start: time.Now(), out: json.NewEncoder(w)}
}

// Now returns the time since the beginning of the run.
func (r *Recorder) Now() int64 { return int64(time.Since(r.start)) }

// At returns an instant of the wall clock in the run's time.
func (r *Recorder) At(t time.Time) int64 { return int64(t.Sub(r.start.Round(0))) }

// Add records an event that has returned.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if err := r.out.Encode(e); err != nil {
		panic(err) // a run that is not recorded proves nothing
	}
}

// Events returns the history so far.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Event(nil), r.events...)
}
