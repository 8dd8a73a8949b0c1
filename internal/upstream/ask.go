package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"example.com/curfew/internal/loopback"
	"example.com/curfew/internal/replica"
	"example.com/curfew/internal/wire"
	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// Errors for a server's answer. Returned errors wrap them and say what to do.
var (
	// ErrCredentials means that the server does not know the client or the secret.
	ErrCredentials = errors.New("the server refused the client's credentials")
	// ErrForbidden means that the client lacks the capability "follow".
	ErrForbidden = errors.New("the client lacks the follow capability")
	// ErrAudience means that the installation does not have the audience.
	ErrAudience = errors.New("the server does not issue tokens for this audience")
	// ErrIssuer means that the server's issuer is not the one of its first answer.
	ErrIssuer = errors.New("the server's issuer has changed")
	// ErrClosed means that the follower is closed.
	ErrClosed = replica.ErrClosed

	errNotCurfew = errors.New("not a response of a Curfew server")
)

// The maximum sizes of an answer in bytes. A page has about 10 000 revocations; an
// epoch, with up to 10 000 users, is never split.
const (
	maxAnswer  = 64 << 20
	maxProblem = 64 << 10
)

// poll is one request for changes.
type poll struct {
	after, confirmed revocation.Epoch
	behind           int64
	wait             time.Duration
	readTimeout      time.Duration // maximum wait for the headers, and for each part of the body
}

// sendPoll sends one poll to a server. The lease of the answer runs from the instant at
// which the request was sent.
func (f *Follower) sendPoll(ctx context.Context, server *url.URL, q poll) (*answer, error) {
	query := url.Values{
		"after":     {strconv.FormatInt(int64(q.after), 10)},
		"confirmed": {strconv.FormatInt(int64(q.confirmed), 10)},
		"wait":      {strconv.FormatInt(int64(q.wait/time.Second), 10)},
		"follower":  {f.id},
	}
	if q.behind > 0 {
		query.Set("behind", strconv.FormatInt(q.behind, 10))
	}
	sent := f.now()
	body, err := f.get(ctx, server, "/v1/changes", query, q.readTimeout)
	took := f.now().Sub(sent)
	if err != nil {
		f.event(Event{Kind: EventFailed, Server: server.Host, Took: took, Err: err})
		return nil, err
	}
	a, err := decode(body)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotCurfew, err)
		f.event(Event{Kind: EventFailed, Server: server.Host, Took: took, Err: err})
		return nil, err
	}
	a.held = min(a.held, took) // the server cannot have held it longer than the request took
	a.Lease = token.Lease{Start: sent, Length: a.held + a.lease}
	f.event(Event{Kind: EventAnswered, Server: server.Host, Took: took, Revocations: len(a.Revocations)})
	return a, nil
}

// get sends a GET request and returns the body of a 200 answer.
func (f *Follower) get(ctx context.Context, server *url.URL, path string, query url.Values, readTimeout time.Duration) ([]byte, error) {
	u := server.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	status, body, err := f.exchange(r, readTimeout)
	switch {
	case err != nil:
		return nil, err
	case status != http.StatusOK:
		return nil, f.refused(status, body)
	}
	return body, nil
}

// exchange sends a request to a server and returns the answer.
func (f *Follower) exchange(r *http.Request, readTimeout time.Duration) (status int, body []byte, err error) {
	// A server that stops sending ends the request, whatever it has sent before.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	silence := time.AfterFunc(readTimeout, func() { cancel(errSilent) })
	defer silence.Stop()

	r = r.WithContext(ctx)
	r.SetBasicAuth(f.config.ClientID, f.config.ClientSecret)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "curfew-follower")
	if loopback.Is(r.URL.Hostname()) {
		r.Header.Set("Accept-Encoding", "identity") // compression saves nothing here
	}
	answer, err := f.client.Do(r)
	if err != nil {
		return 0, nil, shorten(ctx, err)
	}
	defer answer.Body.Close() // it was only read
	limit := int64(maxAnswer)
	if answer.StatusCode != http.StatusOK {
		limit = maxProblem
	}
	body, err = io.ReadAll(io.LimitReader(&alive{answer.Body, silence, readTimeout}, limit+1))
	switch {
	case err != nil:
		return 0, nil, shorten(ctx, err)
	case answer.StatusCode == http.StatusOK && int64(len(body)) > limit:
		return 0, nil, fmt.Errorf("%w: it is longer than %d MiB", errNotCurfew, maxAnswer>>20)
	}
	return answer.StatusCode, body, nil
}

var errSilent = errors.New("the server stopped responding")

// shorten removes the URL that net/http puts before its errors, and returns
// errSilent instead of a cancellation.
func shorten(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// alive restarts the timer of silence with every byte received.
type alive struct {
	io.Reader
	silence     *time.Timer
	readTimeout time.Duration
}

func (a *alive) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if n > 0 {
		a.silence.Reset(a.readTimeout)
	}
	return n, err
}

// refused returns the meaning of a status other than 200, and what to do.
func (f *Follower) refused(status int, body []byte) error {
	var p wire.Problem
	_ = json.Unmarshal(body, &p) // a body that is no problem document has no code
	if len(p.Detail) > 200 {
		p.Detail = p.Detail[:200]
	}
	switch {
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%w: check ClientID (%q) and ClientSecret; `curfew client list` shows the clients", ErrCredentials, f.config.ClientID)
	case status == http.StatusForbidden:
		return fmt.Errorf("%w: client %q requires the follow capability (curfew client add NAME --can follow)", ErrForbidden, f.config.ClientID)
	case status == http.StatusGone && p.Code == wire.CodeStartOver:
		return replica.ErrStartOver
	case status == http.StatusNotFound && p.Code == "":
		return fmt.Errorf("%w (404); check the server's URL, which must have no path", errNotCurfew)
	case p.Code == "":
		return fmt.Errorf("%w: status %d", errNotCurfew, status)
	}
	return fmt.Errorf("the server answered %d %s %q", status, p.Code, p.Detail)
}

// permanent reports whether an error needs a change of the configuration.
func permanent(err error) bool {
	return errors.Is(err, ErrCredentials) || errors.Is(err, ErrForbidden) || errors.Is(err, ErrAudience) ||
		errors.Is(err, ErrIssuer) || errors.Is(err, errRedirect)
}

// RevokedBefore asks a server for an entry that the cache has evicted. It
// implements [revocation.Source], and lets an edge forward requests.
func (f *Follower) RevokedBefore(ctx context.Context, user, session string) (revocation.Answer, error) {
	a, _, err := f.LookUp(ctx, user, session)
	return a, err
}

// LookUp is [Follower.RevokedBefore] that also returns the remaining lease of the
// answer.
func (f *Follower) LookUp(ctx context.Context, user, session string) (revocation.Answer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	var doc wire.RevokedBefore
	var sent time.Time
	err := f.anyServer(ctx, func(ctx context.Context, server *url.URL, readTimeout time.Duration) error {
		sent = f.now()
		body, err := f.get(ctx, server, "/v1/revoked-before", url.Values{"user": {user}, "session": {session}}, readTimeout)
		if err != nil {
			return err
		}
		if doc, err = decodeLookup(body); err != nil {
			return fmt.Errorf("%w: %w", errNotCurfew, err)
		}
		return nil
	})
	if err != nil {
		return revocation.Answer{}, 0, err
	}
	left := time.Duration(min(doc.LeaseMS, maxLease.Milliseconds()))*time.Millisecond - f.now().Sub(sent)
	if left <= 0 {
		return revocation.Answer{}, 0, errors.New("the answer arrived after its lease had expired")
	}
	return revocation.Answer{User: revocation.Epoch(doc.User), Session: revocation.Epoch(doc.Session), AsOf: revocation.Epoch(doc.Epoch)}, left, nil
}
