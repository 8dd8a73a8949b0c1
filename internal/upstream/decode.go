package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
	"example.com/curfew/token/jwks"
)

// answer is a decoded answer of the feed. sendPoll sets its Lease, which depends on
// when the request was sent.
type answer struct {
	replica.Changes
	held, lease time.Duration
}

// maxLease is the maximum lease that is accepted; no server grants more.
const maxLease = time.Hour

// decode reads an answer. An unknown value is an error: a view that has missed
// something must not be trusted.
func decode(body []byte) (*answer, error) {
	doc, revocations, err := split(body)
	if err != nil {
		return nil, err
	}
	a := &answer{held: time.Duration(doc.HeldMS) * time.Millisecond, lease: time.Duration(doc.LeaseMS) * time.Millisecond}
	a.Epoch, a.More, a.Clients, a.Revocations = revocation.Epoch(doc.Epoch), doc.More, revocation.Epoch(doc.ClientsEpoch), revocations
	if doc.Epoch <= 0 || doc.HeldMS < 0 || doc.LeaseMS < 0 || doc.ClientsEpoch < 0 || a.lease > maxLease {
		return nil, fmt.Errorf("epoch %d, held_ms %d, lease_ms %d or clients_epoch %d is out of range", doc.Epoch, doc.HeldMS, doc.LeaseMS, doc.ClientsEpoch)
	}
	// The answer does not say when issuer and keys changed. It was not later than
	// its epoch, unless there are more pages; then the next one has them again.
	if doc.Issuer != "" {
		a.Installation = &replica.Installation{Issuer: doc.Issuer, Audience: doc.Audience, Epoch: a.Epoch}
		if a.Installation.Former, err = formerIssuers(doc); err != nil {
			return nil, err
		}
	}
	if doc.Settings != nil {
		if a.Settings, err = replica.SettingsFromWire(doc.Settings); err != nil {
			return nil, err
		}
	}
	if doc.Keys != nil {
		keys, err := jwks.Parse(doc.Keys)
		if err != nil {
			return nil, err
		}
		set, err := token.NewKeySet(keys...)
		if err != nil {
			return nil, err
		}
		a.Keys = &replica.Keys{Set: set, JSON: doc.Keys, Epoch: a.Epoch}
	}
	return a, nil
}

// formerIssuers returns the issuers besides the present one. A server of an earlier
// release sends none. An issuer without an end would be accepted forever.
func formerIssuers(doc *wire.Changes) (map[string]token.UnixTime, error) {
	if len(doc.Issuers) == 0 && len(doc.IssuersUntil) == 0 {
		return nil, nil
	}
	if len(doc.Issuers) != len(doc.IssuersUntil)+1 || doc.Issuers[0] != doc.Issuer {
		return nil, fmt.Errorf("issuers and issuers_until do not agree with issuer %q", doc.Issuer)
	}
	var former map[string]token.UnixTime
	for _, name := range doc.Issuers[1:] {
		until, ok := doc.IssuersUntil[name]
		if _, twice := former[name]; !ok || twice || name == "" || name == doc.Issuer || until.Unix() <= 0 {
			return nil, fmt.Errorf("the former issuer %q is listed twice or without a valid end", name)
		}
		if former == nil {
			former = map[string]token.UnixTime{}
		}
		former[name] = token.UnixTime(until.Unix())
	}
	return former, nil
}

// opening begins the list of revocations. A quote within a JSON string is escaped,
// so opening never matches inside a string.
var opening = []byte(`"revocations":[`)

// split reads the document. It reads the list of revocations, which can be long,
// without encoding/json.
func split(body []byte) (*wire.Changes, []revocation.Revocation, error) {
	doc := &wire.Changes{}
	if i := bytes.Index(body, opening); i >= 0 {
		i += len(opening)
		if list, ok := fast(body[i:]); ok {
			head := append(append(make([]byte, 0, i+2), body[:i]...), "]}"...)
			if err := json.Unmarshal(head, doc); err != nil {
				return nil, nil, err
			}
			return doc, list, nil
		}
	}
	if err := json.Unmarshal(body, doc); err != nil {
		return nil, nil, err
	}
	list := make([]revocation.Revocation, len(doc.Revocations))
	for i, r := range doc.Revocations {
		list[i] = revocation.Revocation{Scope: revocation.Scope{Kind: revocation.Kind(r.Scope), ID: r.ID}, Epoch: revocation.Epoch(r.Epoch)}
		if !list[i].Scope.Valid() || r.Epoch <= 0 {
			return nil, nil, fmt.Errorf("revocation %d has the scope %q with the id %.40q and the epoch %d, which this version does not understand", i, r.Scope, r.ID, r.Epoch)
		}
	}
	return doc, list, nil
}

// fast reads the rest of a document after opening, if it has exactly the form that
// servers write: members in order, no spaces, no escapes.
func fast(b []byte) ([]revocation.Revocation, bool) {
	list := make([]revocation.Revocation, 0, bytes.Count(b, []byte{'{'}))
	for {
		if rest, ok := bytes.CutPrefix(b, []byte("]}")); ok && len(list) == 0 {
			return list, len(bytes.TrimSpace(rest)) == 0
		}
		var r revocation.Revocation
		var ok bool
		if r, b, ok = fastOne(b); !ok || len(b) == 0 {
			return nil, false
		}
		list = append(list, r)
		if b[0] == ']' {
			rest, ok := bytes.CutPrefix(b, []byte("]}"))
			return list, ok && len(bytes.TrimSpace(rest)) == 0
		}
		if b[0] != ',' {
			return nil, false
		}
		b = b[1:]
	}
}

func fastOne(b []byte) (r revocation.Revocation, rest []byte, ok bool) {
	if b, ok = bytes.CutPrefix(b, []byte(`{"scope":"`)); !ok {
		return r, nil, false
	}
	kind, b, ok := fastString(b)
	if !ok {
		return r, nil, false
	}
	if b, ok = bytes.CutPrefix(b, []byte(`,"id":"`)); !ok {
		return r, nil, false
	}
	id, b, ok := fastString(b)
	if !ok {
		return r, nil, false
	}
	if b, ok = bytes.CutPrefix(b, []byte(`,"epoch":`)); !ok {
		return r, nil, false
	}
	e, digits := int64(0), 0
	for ; digits < len(b) && '0' <= b[digits] && b[digits] <= '9'; digits++ {
		e = e*10 + int64(b[digits]-'0')
	}
	if digits == 0 || digits > 18 || b[0] == '0' || digits == len(b) || b[digits] != '}' {
		return r, nil, false
	}
	r.Scope.Kind = knownKind(kind)
	r.Scope.ID = string(id)
	r.Epoch = revocation.Epoch(e)
	return r, b[digits+1:], r.Scope.Valid()
}

// fastString reads up to the closing quote of a string of printable ASCII without
// escapes.
func fastString(b []byte) (s, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == '"':
			return b[:i], b[i+1:], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// knownKind avoids an allocation for each of a few words.
func knownKind(b []byte) revocation.Kind {
	switch string(b) {
	case string(revocation.KindUser):
		return revocation.KindUser
	case string(revocation.KindSession):
		return revocation.KindSession
	case string(revocation.KindEveryone):
		return revocation.KindEveryone
	case string(revocation.KindRemembered):
		return revocation.KindRemembered
	}
	return ""
}

// decodeLookup reads an answer of GET /v1/revoked-before.
func decodeLookup(body []byte) (wire.RevokedBefore, error) {
	// Pointers distinguish a missing member from zero, which means never revoked.
	var doc struct {
		User    *int64 `json:"user"`
		Session *int64 `json:"session"`
		Epoch   *int64 `json:"epoch"`
		LeaseMS *int64 `json:"lease_ms"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return wire.RevokedBefore{}, err
	}
	if doc.User == nil || doc.Session == nil || doc.Epoch == nil || doc.LeaseMS == nil {
		return wire.RevokedBefore{}, errors.New("a member is missing")
	}
	return wire.RevokedBefore{User: *doc.User, Session: *doc.Session, Epoch: *doc.Epoch, LeaseMS: *doc.LeaseMS}, nil
}
