package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/config"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
	"example.com/curfew/internal/wireform"
	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
)

// remote administers a server over its API.
type remote struct {
	api
	credentials *credentials // nil with a token from the environment

	before map[string]string // cursors of the API by list; "" at the end

	// password returns the password of the session's user, when the server asks for it
	// again.
	password func() (string, error)
}

func openRemote(ctx context.Context, cfg config.Remote, password func() (string, error)) (admin, error) {
	client, err := newAPI(cfg)
	if err != nil {
		return nil, err
	}
	r := &remote{api: client, before: map[string]string{}, password: password}
	if r.token = cfg.Token; r.token != "" {
		return r, nil
	}
	if r.credentials, err = openCredentials(cfg.Credentials); err != nil {
		return nil, err
	}
	return r, r.resume(ctx)
}

// Close implements admin.
func (r *remote) Close() error {
	r.transport.CloseIdleConnections()
	return nil
}

// do is do of the api. When the server asks for the password again, so does the command,
// and then repeats the request.
func (r *remote) do(ctx context.Context, method, path string, header http.Header, body, out any) (http.Header, error) {
	got, err := r.api.do(ctx, method, path, header, body, out)
	if e, ok := errors.AsType[*apiError](err); !ok || e.Code != string(token.ErrInsufficientAuthentication) {
		return got, err
	}
	if err := r.reauthenticate(ctx); err != nil {
		return nil, err
	}
	return r.api.do(ctx, method, path, header, body, out)
}

// passwordsOff reports whether a server has refused a password because passwords are
// switched off. No other call with a password answers so.
func passwordsOff(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Status == http.StatusForbidden && e.Code == wire.CodeForbidden
}

// errPasswordsOff is the error of a command that needs a password at a server that takes
// none.
func errPasswordsOff(server string) error {
	return fmt.Errorf("signing in with a password is switched off at %s, and this command signs in with a password only; "+
		"use the console at %s, which asks the identity provider; or run the command on the server without --server; "+
		"or set CURFEW_TOKEN to a token from `curfew token issue NAME`, run on the server, which counts as authenticated at that moment", server, server)
}

// reauthenticate confirms the password of the session's user. The token that the server
// answers with is kept in place of the one before. While passwords are switched off it
// asks for none, if the caller may see that.
func (r *remote) reauthenticate(ctx context.Context) error {
	var methods wire.SignInMethods
	if err := r.get(ctx, "/v1/sign-in-methods", nil, &methods); err == nil && !methods.Passwords {
		return errPasswordsOff(r.server)
	}
	password, err := r.password()
	if errors.Is(err, errNoTerminal) {
		return fmt.Errorf("the server asks for your password again, since you entered it too long ago, and there is no terminal to ask at; "+
			"sign in again with `curfew login NAME --server %s`, then repeat the command", r.server)
	}
	if err != nil {
		return err
	}
	var issued wire.Issued
	if _, err := r.api.do(ctx, http.MethodPost, "/v1/session/reauthenticate", nil, wire.Reauthenticate{Password: password}, &issued); passwordsOff(err) {
		return errPasswordsOff(r.server)
	} else if err != nil {
		return err
	}
	before := r.token
	r.token = issued.Token
	if r.credentials == nil {
		return nil
	}
	return r.credentials.change(ctx, func() error {
		if r.credentials.entries[r.server].Token == before { // else another process has refreshed it, or signed in
			r.credentials.put(r.server, issued)
		}
		return nil
	})
}

// api sends requests to a server.
type api struct {
	server    string // without a slash at the end
	token     string
	transport *http.Transport
}

func newAPI(cfg config.Remote) (api, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cfg.ServerCA != "" {
		data, err := os.ReadFile(cfg.ServerCA) // #nosec G304 -- the file that the operator names
		if err != nil {
			return api{}, &config.OptionError{Option: "--server-ca", Problem: err.Error()}
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(data) {
			return api{}, &config.OptionError{Option: "--server-ca", Problem: fmt.Sprintf("%q has no certificate in PEM", cfg.ServerCA)}
		}
	}
	return api{server: cfg.Server, transport: transport}, nil
}

// apiError is what a server answered in place of success. It wraps the sentinel of
// package store or session that the database would have given.
type apiError struct {
	wire.Problem
	server string
}

func (e *apiError) Error() string {
	text := e.Detail
	if text == "" {
		text = fmt.Sprintf("the server answered %d %s", e.Status, e.Title)
	}
	for i, f := range e.Errors {
		if i == 0 {
			text = "invalid request:"
		} else {
			text += ";"
		}
		text += " " + f.Field + " " + f.Detail
	}
	if signedOut(e) {
		text = strings.TrimSuffix(strings.TrimSuffix(text, " Sign in again."), ".")
		text += fmt.Sprintf("; sign in with `curfew login NAME --server %s`", e.server)
	}
	return text
}

func (e *apiError) Unwrap() error {
	return map[string]error{
		wire.CodeNotFound: store.ErrNotFound, wire.CodeConflict: store.ErrConflict, wire.CodeLostRace: session.ErrLostRace,
	}[e.Code]
}

const (
	maxAnswer = 64 << 20
	// answerTime is how long an answer may take that is not waited for on purpose:
	// longer than the server's own limit.
	answerTime = time.Minute
)

// do sends a request and reads the answer into out, unless that is nil. It returns
// the header of the answer. Redirects are errors: the token is for this server.
func (a *api) do(ctx context.Context, method, path string, header http.Header, body, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.server+path, content)
	if err != nil {
		return nil, err
	}
	if header != nil {
		r.Header = header
	}
	r.Header.Set("User-Agent", "curfew-cli")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	got, err := a.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.server, err)
	}
	defer got.Body.Close()
	data, err := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", a.server, err)
	}
	if got.StatusCode >= 300 {
		return nil, a.refusal(got, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			return nil, fmt.Errorf("%s: read the answer: %w; is this the address of a Curfew server?", a.server, err)
		}
	}
	return got.Header, nil
}

func (a *api) refusal(got *http.Response, data []byte) error {
	if location := got.Header.Get("Location"); got.StatusCode < 400 && location != "" {
		return fmt.Errorf("%s redirects to %s; give the address that it redirects to", a.server, location)
	}
	e := &apiError{server: a.server}
	if json.Unmarshal(data, &e.Problem) != nil || e.Code == "" {
		return fmt.Errorf("%s answered %s; is this the address of a Curfew server?", a.server, got.Status)
	}
	e.Status = got.StatusCode
	return e
}

func (a *api) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	_, err := a.do(ctx, http.MethodGet, path, nil, nil, out)
	return err
}

func userPath(id, rest string) string { return "/v1/users/" + url.PathEscape(id) + rest }

func withReason(path, reason string) string {
	if reason == "" {
		return path
	}
	return path + "?reason=" + url.QueryEscape(reason)
}

// FindUser implements admin: it asks for the users that the text may name and
// decides as the server would.
func (r *remote) FindUser(ctx context.Context, text string) (store.User, error) {
	var candidates []store.User
	id, beginning := account.Searches(text)
	if id != "" && id != "me" {
		var u wire.User
		err := r.get(ctx, userPath(id, ""), nil, &u)
		if err == nil {
			candidates = append(candidates, wireform.ReadUser(u))
		} else if !errors.Is(err, store.ErrNotFound) {
			return store.User{}, err
		}
	}
	for cursor, more := "", beginning != ""; more; more = cursor != "" {
		users, next, err := r.Users(ctx, beginning, cursor, 500)
		if err != nil {
			return store.User{}, err
		}
		candidates, cursor = append(candidates, users...), next
	}
	return account.Match(text, candidates)
}

// Users implements admin.
func (r *remote) Users(ctx context.Context, search, cursor string, limit int) ([]store.User, string, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	set(query, "search", search)
	set(query, "cursor", cursor)
	var answer wire.Users
	err := r.get(ctx, "/v1/users", query, &answer)
	return each(answer.Users, wireform.ReadUser), answer.NextCursor, err
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func each[A, B any](all []A, convert func(A) B) []B {
	var out []B
	for _, one := range all {
		out = append(out, convert(one))
	}
	return out
}

// LiveSessions implements admin.
func (r *remote) LiveSessions(ctx context.Context, userID string) ([]session.Live, error) {
	var all []session.Live
	for cursor, more := "", true; more; more = cursor != "" {
		query := url.Values{"limit": {"500"}}
		set(query, "cursor", cursor)
		var answer wire.LiveSessions
		if err := r.get(ctx, userPath(userID, "/sessions"), query, &answer); err != nil {
			return nil, err
		}
		all, cursor = append(all, each(answer.Sessions, wireform.ReadLiveSession)...), answer.NextCursor
	}
	return all, nil
}

// changeBody is the body of a change. Only members that are set are sent.
func changeBody(change account.UserChange) map[string]any {
	body := map[string]any{}
	for name, value := range map[string]*string{"name": change.Name, "password": change.Password, "email": change.Email} {
		if value != nil {
			body[name] = *value
		}
	}
	if change.Email != nil && *change.Email == "" {
		body["email"] = nil
	}
	for name, list := range map[string]*[]string{"permissions": change.Permissions, "groups": change.Groups} {
		if list != nil {
			body[name] = append([]string{}, *list...)
		}
	}
	for name, flag := range map[string]*bool{"disabled": change.Disabled, "must_change_password": change.MustChangePassword} {
		if flag != nil {
			body[name] = *flag
		}
	}
	return body
}

// CreateUser implements admin.
func (r *remote) CreateUser(ctx context.Context, change account.UserChange) (store.User, error) {
	return r.writeUser(ctx, http.MethodPost, "/v1/users", change)
}

// ChangeUser implements admin.
func (r *remote) ChangeUser(ctx context.Context, id string, change account.UserChange, reason string) (store.User, error) {
	return r.writeUser(ctx, http.MethodPatch, withReason(userPath(id, ""), reason), change)
}

func (r *remote) writeUser(ctx context.Context, method, path string, change account.UserChange) (store.User, error) {
	var u wire.User
	_, err := r.do(ctx, method, path, nil, changeBody(change), &u)
	return wireform.ReadUser(u), err
}

// RevokeUser implements admin.
func (r *remote) RevokeUser(ctx context.Context, id, reason string) (session.Receipt, error) {
	return r.revoke(ctx, userPath(id, "/revocations"), wire.RevokeUser{Reason: reason})
}

// RevokeMany implements admin.
func (r *remote) RevokeMany(ctx context.Context, many session.Many) (session.Receipt, error) {
	return r.revoke(ctx, "/v1/revocations", wire.RevokeMany{Scope: many.Scope, Users: many.Users, Reason: many.Reason})
}

// DeleteUser implements admin.
func (r *remote) DeleteUser(ctx context.Context, id, reason string) (session.Receipt, error) {
	var receipt wire.Receipt
	_, err := r.do(ctx, http.MethodDelete, withReason(userPath(id, ""), reason), nil, nil, &receipt)
	return wireform.ReadReceipt(receipt), err
}

func (r *remote) revoke(ctx context.Context, path string, body any) (session.Receipt, error) {
	var receipt wire.Receipt
	_, err := r.do(ctx, http.MethodPost, path, nil, body, &receipt)
	return wireform.ReadReceipt(receipt), err
}

// RevokeSession implements admin. The API answers with the address of the receipt.
func (r *remote) RevokeSession(ctx context.Context, userID, id, reason string) (session.Receipt, error) {
	if userID == "" {
		return session.Receipt{}, usagef("--user is required with --server: the user whose session it is")
	}
	path := withReason(userPath(userID, "/sessions/"+url.PathEscape(id)), reason)
	header, err := r.do(ctx, http.MethodDelete, path, nil, nil, nil)
	if err != nil {
		return session.Receipt{}, err
	}
	_, text, _ := strings.Cut(header.Get("Location"), "/v1/revocations/")
	epoch, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return session.Receipt{}, fmt.Errorf("the session is revoked, but the server does not say where its receipt is; find it with `curfew revocations --server %s`", r.server)
	}
	receipt, err := r.Receipt(ctx, revocation.Epoch(epoch))
	if signedOut(err) {
		return session.Receipt{Receipt: store.Receipt{Epoch: revocation.Epoch(epoch)}}, errOwnSession
	}
	if err != nil {
		err = fmt.Errorf("the session is revoked, but its receipt could not be read: %w", err)
	}
	return receipt, err
}

// errOwnSession means that a revocation has ended the session of the command itself, so
// that its receipt can't be read with it.
var errOwnSession = errors.New("your own session has ended")

// signedOut reports whether a server has refused a call because the session is over.
func signedOut(err error) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Status == http.StatusUnauthorized && e.Code != wire.CodeBadCredentials && e.Code != string(token.ErrInsufficientAuthentication)
}

// isSignedOut asks the server whether the session of the command is over.
func (r *remote) isSignedOut(ctx context.Context) bool {
	return signedOut(r.get(ctx, "/v1/session", nil, nil))
}

// Await implements admin. The API waits for whole seconds.
func (r *remote) Await(ctx context.Context, receipt session.Receipt, wait time.Duration) (session.Receipt, error) {
	seconds := max(1, int((wait+time.Second-1)/time.Second))
	header := http.Header{"Prefer": {"wait=" + strconv.Itoa(seconds)}}
	var now wire.Receipt
	if _, err := r.do(ctx, http.MethodGet, receiptPath(receipt.Epoch), header, nil, &now); err != nil {
		return receipt, err
	}
	return wireform.ReadReceipt(now), nil
}

func receiptPath(epoch revocation.Epoch) string {
	return "/v1/revocations/" + strconv.FormatInt(int64(epoch), 10)
}

// Receipt implements admin.
func (r *remote) Receipt(ctx context.Context, epoch revocation.Epoch) (session.Receipt, error) {
	var receipt wire.Receipt
	err := r.get(ctx, receiptPath(epoch), nil, &receipt)
	return wireform.ReadReceipt(receipt), err
}

// Receipts implements admin.
func (r *remote) Receipts(ctx context.Context, f store.ReceiptFilter, limit int) ([]session.Receipt, error) {
	query := url.Values{}
	set(query, "user", f.User)
	set(query, "by", f.By)
	var answer wire.Receipts
	next, err := r.page(ctx, "/v1/revocations", query, f.From, f.To, f.Before != 0, limit, &answer, func() string { return answer.NextCursor })
	if err != nil || !next {
		return nil, err
	}
	return each(answer.Revocations, wireform.ReadReceipt), nil
}

// Audit implements admin.
func (r *remote) Audit(ctx context.Context, f store.AuditFilter, limit int) ([]store.Audit, error) {
	query := url.Values{}
	for name, value := range map[string]string{
		"person": f.Person, "actor": f.Actor, "target": f.Target, "action": f.Action, "reason": f.Reason, "address": f.Address, "session": f.Session,
	} {
		set(query, name, value)
	}
	var answer wire.AuditEntries
	next, err := r.page(ctx, "/v1/audit", query, f.From, f.To, f.Before != 0, limit, &answer, func() string { return answer.NextCursor })
	if err != nil || !next {
		return nil, err
	}
	return each(answer.Entries, wireform.ReadAudit), nil
}

// page reads a page of a list: the first, or the one after the page before. It
// returns false after the last.
func (r *remote) page(ctx context.Context, path string, query url.Values, from, to int64, following bool, limit int, answer any, cursor func() string) (bool, error) {
	if following {
		if r.before[path] == "" {
			return false, nil
		}
		query.Set("cursor", r.before[path])
	}
	query.Set("limit", strconv.Itoa(min(limit, 500)))
	for name, at := range map[string]int64{"from": from, "to": to} {
		if at != 0 {
			query.Set(name, wireform.Instant(at))
		}
	}
	if err := r.get(ctx, path, query, answer); err != nil {
		return false, err
	}
	r.before[path] = cursor()
	return true, nil
}

// FindPerson implements admin.
func (r *remote) FindPerson(ctx context.Context, text string) (string, bool, error) {
	u, err := r.FindUser(ctx, text)
	if errors.Is(err, store.ErrNotFound) {
		return text, false, nil
	}
	return u.ID, err == nil, err
}

const settingsPath = "/v1/settings/authentication"

// Settings implements admin.
func (r *remote) Settings(ctx context.Context) (settings.Settings, string, error) {
	var w wire.Settings
	header, err := r.do(ctx, http.MethodGet, settingsPath, nil, nil, &w)
	if err != nil {
		return settings.Settings{}, "", err
	}
	in, err := readSettings(w)
	return in, header.Get("ETag"), err
}

func readSettings(w wire.Settings) (settings.Settings, error) {
	in, missing := wireform.ReadSettings(w)
	if len(missing) > 0 {
		return in, fmt.Errorf("the server's answer lacks %s", strings.Join(missing, ", "))
	}
	return in, nil
}

// ChangeSettings implements admin.
func (r *remote) ChangeSettings(ctx context.Context, to settings.Settings, tag string) (settings.Settings, error) {
	var w wire.Settings
	if _, err := r.do(ctx, http.MethodPut, settingsPath, http.Header{"If-Match": {tag}}, wireform.Settings(to), &w); err != nil {
		return settings.Settings{}, err
	}
	return readSettings(w)
}

// PreviewSettings implements admin.
func (r *remote) PreviewSettings(ctx context.Context, to settings.Settings) (session.Preview, error) {
	var w wire.SettingsPreview
	_, err := r.do(ctx, http.MethodPut, settingsPath+"?dry_run=true", nil, wireform.Settings(to), &w)
	return session.Preview{Counts: store.Counts{Sessions: w.Sessions, Users: w.Users}, Own: w.Own}, err
}

// Clients implements admin.
func (r *remote) Clients(ctx context.Context) ([]store.Client, error) {
	var all []store.Client
	for cursor, more := "", true; more; more = cursor != "" {
		query := url.Values{"limit": {"500"}}
		set(query, "cursor", cursor)
		var answer wire.Clients
		if err := r.get(ctx, "/v1/clients", query, &answer); err != nil {
			return nil, err
		}
		all, cursor = append(all, each(answer.Clients, wireform.ReadClient)...), answer.NextCursor
	}
	return all, nil
}

// CreateClient implements admin.
func (r *remote) CreateClient(ctx context.Context, n account.NewClient) (store.Client, string, error) {
	return r.postClient(ctx, "/v1/clients", wire.NewClient{Name: n.Name, Capabilities: n.Capabilities})
}

// NewSecret implements admin.
func (r *remote) NewSecret(ctx context.Context, id string, revokeOld bool) (store.Client, string, error) {
	return r.postClient(ctx, clientPath(id)+"/secrets", wire.NewSecret{RevokeOld: revokeOld})
}

// postClient makes a call whose answer is a client with its secret.
func (r *remote) postClient(ctx context.Context, path string, body any) (store.Client, string, error) {
	var answer wire.Client
	_, err := r.do(ctx, http.MethodPost, path, nil, body, &answer)
	return wireform.ReadClient(answer), answer.Secret, err
}

// DeleteClient implements admin.
func (r *remote) DeleteClient(ctx context.Context, id string) error {
	_, err := r.do(ctx, http.MethodDelete, clientPath(id), nil, nil, nil)
	return err
}

func clientPath(id string) string { return "/v1/clients/" + url.PathEscape(id) }

// Keys implements admin.
func (r *remote) Keys(ctx context.Context) ([]store.Key, error) {
	var answer wire.Keys
	err := r.get(ctx, "/v1/keys", nil, &answer)
	return each(answer.Keys, wireform.ReadKey), err
}

// RotateKey implements admin.
func (r *remote) RotateKey(ctx context.Context, kid, reason string) (store.Key, time.Time, error) {
	var answer wire.Rotation
	_, err := r.do(ctx, http.MethodPost, "/v1/keys/rotations", nil, wire.RotateKey{Kid: kid, Reason: reason}, &answer)
	return wireform.ReadKey(answer.Key), answer.SignsFrom, err
}

// RetireKey implements admin.
func (r *remote) RetireKey(ctx context.Context, kid, reason string) (revocation.Epoch, error) {
	var answer wire.RetiredKey
	_, err := r.do(ctx, http.MethodDelete, withReason("/v1/keys/"+url.PathEscape(kid), reason), nil, nil, &answer)
	return revocation.Epoch(answer.Epoch), err
}
