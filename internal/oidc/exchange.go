package oidc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Exchange takes the authorization response of an attempt: it checks where the response
// comes from, exchanges the code and validates the ID token. wanted are the names of
// claims to ask the userinfo endpoint for, if the ID token lacks one of them. The caller
// has found the attempt by the response's state.
//
// Errors are a [Refusal], and those that wrap [ErrUnreachable], [ErrMisconfigured],
// [ErrMixUp], [ErrCode], [ErrToken] or [ErrClock].
func (c *Client) Exchange(ctx context.Context, r Registration, s Secrets, response url.Values, wanted ...string) (Identity, error) {
	k, err := c.known(ctx, r.Issuer, r.Changed)
	if err != nil {
		return Identity{}, err
	}
	code, err := readResponse(k.metadata, response, s.quoted(r, ""))
	if err != nil {
		return Identity{}, err
	}
	asking := oidc.ClientContext(ctx, c.http)
	answer, err := r.oauth2(k.metadata).Exchange(asking, code, oauth2.VerifierOption(s.Verifier))
	if err != nil {
		return Identity{}, exchangeError(k.metadata.TokenEndpoint, err, s.quoted(r, code))
	}
	raw, _ := answer.Extra("id_token").(string)
	if raw == "" {
		return Identity{}, fmt.Errorf("%w: the answer of the token endpoint has no ID token", ErrMisconfigured)
	}
	id, err := c.verifyIDToken(ctx, k, r, raw, s.Nonce, answer.AccessToken)
	if err != nil {
		return Identity{}, err
	}
	if err := c.complete(ctx, k.metadata, &id, answer, wanted); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// maxCode bounds the parameters of a response that are used.
const maxCode = 4096

// readResponse returns the code of an authorization response. A parameter that is there
// twice is refused: two readers could read it differently (RFC 6749, section 3.1).
func readResponse(m Metadata, response url.Values, q quoted) (string, error) {
	for _, name := range []string{"code", "iss", "error", "error_description", "state"} {
		if values := response[name]; len(values) > 1 || len(values) == 1 && len(values[0]) > maxCode {
			return "", fmt.Errorf("%w: the parameter %s of the response is not valid", ErrCode, name)
		}
	}
	iss, said := response["iss"]
	switch {
	case said && iss[0] != m.Issuer:
		return "", fmt.Errorf("%w: want %q, got %q", ErrMixUp, m.Issuer, iss[0])
	case !said && m.ResponseIssuer:
		return "", fmt.Errorf("%w: the response has no iss, but %s promises it", ErrMixUp, m.Issuer)
	}
	if refusal := response.Get("error"); refusal != "" {
		return "", &Refusal{Code: q.text(refusal), Description: q.text(response.Get("error_description"))}
	}
	code := response.Get("code")
	if code == "" {
		return "", fmt.Errorf("%w: the response has no code", ErrCode)
	}
	return code, nil
}

// maxQuoted is the maximum number of characters of a provider's text in an error.
const maxQuoted = 200

// printable returns the ASCII text of a provider that may stand in an error (RFC 6749,
// section 4.1.2.1).
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	return text[:min(len(text), maxQuoted)]
}

// quoted quotes a provider's texts, which go into the log, without the secrets of an
// attempt: some providers repeat the request in error_description.
type quoted struct{ *strings.Replacer }

// quoted returns what quotes the provider's texts about an attempt.
func (s Secrets) quoted(r Registration, code string) quoted {
	basic := url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(r.ClientSecret)
	var pairs []string
	for _, secret := range []string{base64.StdEncoding.EncodeToString([]byte(basic)), r.ClientSecret, code, s.Verifier, s.Nonce, s.State} {
		if secret != "" {
			pairs = append(pairs, secret, redacted, url.QueryEscape(secret), redacted, url.PathEscape(secret), redacted)
		}
	}
	return quoted{strings.NewReplacer(pairs...)}
}

const redacted = "[redacted]"

// text returns a text as printable does. The secrets go first: a text that is cut off
// could end with the beginning of one.
func (q quoted) text(text string) string { return printable(q.Replace(text)) }

// exchangeError tells a code that is not accepted from a client that is not accepted
// (RFC 6749, section 5.2), and both from a provider that can't be asked.
func exchangeError(endpoint string, err error, q quoted) error {
	refused := (*oauth2.RetrieveError)(nil)
	if !errors.As(err, &refused) {
		return answerError(endpoint, err, q)
	}
	// oauth2's own text has the whole body.
	said := q.text(refused.ErrorCode)
	if text := q.text(refused.ErrorDescription); text != "" {
		said += ": " + text
	}
	switch status := refused.Response.StatusCode; {
	case status >= 500 || status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s answered %s", ErrUnreachable, endpoint, statusText(status))
	case refused.ErrorCode == "invalid_grant":
		return fmt.Errorf("%w: %s", ErrCode, said)
	case refused.ErrorCode == "invalid_client" || status == http.StatusUnauthorized:
		return fmt.Errorf("%w: it does not accept the client ID with this client secret (%s)", ErrMisconfigured, said)
	default:
		return fmt.Errorf("%w: the token endpoint answered %s (%s)", ErrMisconfigured, statusText(status), said)
	}
}

// answerError is the error of a request that a library has made: of the connection, or
// of an answer that it can't read.
func answerError(endpoint string, err error, q quoted) error {
	if asked := (*url.Error)(nil); errors.As(err, &asked) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errTooLarge) {
		return unreachable(endpoint, err)
	}
	return fmt.Errorf("%w: the answer of %s can't be read: %s", ErrMisconfigured, endpoint, q.text(err.Error()))
}

// complete adds the wanted claims that the ID token lacks, from the userinfo endpoint.
// The claims of the ID token stay as they are.
func (c *Client) complete(ctx context.Context, m Metadata, id *Identity, answer *oauth2.Token, wanted []string) error {
	if m.UserInfoEndpoint == "" || answer.AccessToken == "" || id.Claims.hasAll(wanted) {
		return nil
	}
	body, err := c.get(ctx, m.UserInfoEndpoint, answer)
	if err != nil {
		return err
	}
	more, err := readClaims(body)
	if err != nil {
		return fmt.Errorf("%w: the answer of the userinfo endpoint: %w", ErrMisconfigured, err)
	}
	// Without this comparison an access token of another user would lend its claims to
	// this one (Core, section 5.3.2).
	if subject, _ := more.text("sub"); subject != id.Subject {
		return fmt.Errorf("%w: the userinfo endpoint answered about another subject", ErrToken)
	}
	// Whether an address is verified is said of the address of the same source.
	if _, ok := id.Claims["email"]; !ok {
		delete(id.Claims, "email_verified")
	} else if id.Claims.Text("email") != more.Text("email") {
		delete(more, "email_verified")
	}
	for name, value := range more {
		if _, ok := id.Claims[name]; !ok {
			id.Claims[name] = value
		}
	}
	return nil
}
