package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"example.com/curfew/internal/wire"
)

// client calls the API of nodes.
type client struct{ http *http.Client }

func newClient(connections int) client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, connections
	t.Proxy = nil // the measurement is of the node
	return client{http: &http.Client{Transport: t, Timeout: 40 * time.Second}}
}

// call sends body, if not nil, as JSON, and decodes an answer of 2xx into to, if
// not nil. Any other status is no error.
func (c client) call(ctx context.Context, method, url, token string, body, to any, headers ...string) (status int, err error) {
	var in io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return 0, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if to != nil && answer.StatusCode/100 == 2 {
		if err := json.NewDecoder(answer.Body).Decode(to); err != nil {
			return answer.StatusCode, fmt.Errorf("%s %s: %w", method, url, err)
		}
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (c client) signIn(ctx context.Context, base, name, password string) (token string, status int, err error) {
	var issued wire.Issued
	status, err = c.call(ctx, http.MethodPost, base+"/v1/sessions", "", wire.SignIn{Username: name, Password: password}, &issued)
	return issued.Token, status, err
}

func (c client) verify(ctx context.Context, base, token string) (status int, err error) {
	return c.call(ctx, http.MethodGet, base+"/v1/verify", token, nil, nil)
}

func (c client) refresh(ctx context.Context, base, token string) (fresh string, status int, err error) {
	var issued wire.Issued
	status, err = c.call(ctx, http.MethodPost, base+"/v1/session/refresh", token, nil, &issued)
	return issued.Token, status, err
}

// revoke revokes all sessions of the token's user and waits until it holds
// everywhere.
func (c client) revoke(ctx context.Context, base, token string) (everywhere bool, status int, err error) {
	var receipt wire.Receipt
	status, err = c.call(ctx, http.MethodPost, base+"/v1/users/me/revocations", token, wire.RevokeUser{Reason: "load"}, &receipt, "Prefer", "wait=20")
	return receipt.Enforcement.EffectiveEverywhere, status, err
}
