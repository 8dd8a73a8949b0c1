package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// minKeyInterval is the minimum time between two requests for the keys of a provider
// because of an unknown key. Without it each token with a made-up key ID would cost a
// request to the provider.
const minKeyInterval = 10 * time.Second

var (
	errSignature = errors.New("no key of the provider verifies the signature")
	// errKeyUnknown means that the token names a key that was not among the provider's
	// less than minKeyInterval ago. It may be a new one. It wraps errSignature.
	errKeyUnknown = fmt.Errorf("%w: the key that it names is not known, and the keys were asked for just now", errSignature)
)

// keySet is the keys of a provider. It is fetched again when it is old, and when a
// token names a key that is not in it (Core, section 10.1.1).
//
// go-oidc's RemoteKeySet is not used: it trusts a key that the provider has withdrawn until
// a token names an unknown one, asks the provider again for each token with an unknown key
// or a wrong signature, and ignores the member alg of a key.
type keySet struct {
	client  *Client
	address string

	mu   sync.Mutex // guards the fields below
	keys []jose.JSONWebKey
	at   time.Time // of the request for keys; zero if there was none
	// asked is when the last request was made, successful or not.
	asked  time.Time
	failed failure
}

// verify returns the payload of a token if a key of the provider has signed it. The
// error wraps [ErrUnreachable] or [ErrMisconfigured] if the keys can't be had.
func (s *keySet) verify(ctx context.Context, raw string, algorithms []string) ([]byte, error) {
	accepted := make([]jose.SignatureAlgorithm, len(algorithms))
	for i, algorithm := range algorithms {
		accepted[i] = jose.SignatureAlgorithm(algorithm)
	}
	jws, err := jose.ParseSignedCompact(raw, accepted)
	if err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Header
	now := s.client.now()
	s.mu.Lock()
	keys, at, asked, failed := s.keys, s.at, s.asked, s.failed
	s.mu.Unlock()
	age := now.Sub(at)
	fresh := !at.IsZero() && 0 <= age && age < freshFor
	if fresh {
		if payload, ok := verifyWith(keys, jws, header); ok {
			return payload, nil
		}
		if since := now.Sub(asked); 0 <= since && since < minKeyInterval {
			if header.KeyID != "" && !slices.ContainsFunc(keys, func(key jose.JSONWebKey) bool { return key.KeyID == header.KeyID }) {
				return nil, errKeyUnknown
			}
			return nil, errSignature
		}
	}
	var fetched []jose.JSONWebKey
	if err = failed.recent(now); err == nil {
		fetched, err = s.fetch(ctx)
	}
	switch {
	case err == nil:
		keys = fetched
	case at.IsZero() || age < 0 || age >= usableFor:
		return nil, err
	default:
		s.client.log.WarnContext(ctx, "identity provider: fetch keys failed; the keys of earlier are used", "address", s.address, "error", err)
	}
	if payload, ok := verifyWith(keys, jws, header); ok {
		return payload, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, errSignature
}

// verifyWith returns the payload if one of the keys verifies the signature.
func verifyWith(keys []jose.JSONWebKey, jws *jose.JSONWebSignature, header jose.Header) ([]byte, bool) {
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// fetch asks for the keys. Concurrent calls share one request.
func (s *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	fetched := s.client.fetches.DoChan("keys "+s.address, func() (any, error) {
		now := s.client.now()
		s.mu.Lock()
		s.asked = now
		s.mu.Unlock()
		keys, err := s.download(context.WithoutCancel(ctx))
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = failure{err, s.client.now()}
		if err != nil {
			return nil, err
		}
		s.keys, s.at = keys, now
		return keys, nil
	})
	return await[[]jose.JSONWebKey](ctx, s.address, fetched)
}

// download asks for the keys once.
func (s *keySet) download(ctx context.Context) ([]jose.JSONWebKey, error) {
	body, err := s.client.get(ctx, s.address, nil)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("%w: keys at %s: %w", ErrMisconfigured, s.address, err)
	}
	return keys, nil
}

// maxKeys is the maximum number of keys of a provider: a token without a key ID may
// cost one signature check for each.
const maxKeys = 64

// parseKeys returns the public keys for signatures of a JWK Set. It leaves out keys of
// other kinds, as RFC 7517, section 5 says.
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("the document has no public key for signatures")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("the document has %d keys; at most %d are accepted", len(keys), maxKeys)
	}
	return keys, nil
}

// captured is a go-oidc key set for one token. It keeps the error of the keys, which
// go-oidc makes a text of.
type captured struct {
	keys       *keySet
	algorithms []string
	err        error
}

// VerifySignature implements go-oidc's KeySet.
func (c *captured) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	var payload []byte
	payload, c.err = c.keys.verify(ctx, raw, c.algorithms)
	return payload, c.err
}
