package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
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
	// errManyKeys means that the header of a token does not say which of many keys has
	// signed it. It wraps errSignature.
	errManyKeys = fmt.Errorf("%w: its key ID is missing or not unique, and more than %d keys of the provider fit", errSignature, maxCandidates)
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
	fetches singleflight.Group // has one key

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
		payload, err := s.verifyWith(ctx, keys, jws, header)
		if !errors.Is(err, errSignature) {
			return payload, err
		}
		if since := now.Sub(asked); 0 <= since && since < minKeyInterval {
			if header.KeyID != "" && !slices.ContainsFunc(keys, func(key jose.JSONWebKey) bool { return key.KeyID == header.KeyID }) {
				return nil, errKeyUnknown
			}
			return nil, err
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
	payload, refused := s.verifyWith(ctx, keys, jws, header)
	if err != nil && errors.Is(refused, errSignature) {
		return nil, err
	}
	return payload, refused
}

// maxCandidates is the maximum number of keys that may fit the header of a token. With
// more than one key, a provider has to name the key (Core, section 10.1); some do not.
const maxCandidates = 4

// verifyWith returns the payload if one of the keys that fit the header verifies the
// signature. The error wraps errSignature, or ErrUnreachable if ctx has ended.
func (s *keySet) verifyWith(ctx context.Context, keys []jose.JSONWebKey, jws *jose.JSONWebSignature, header jose.Header) ([]byte, error) {
	var candidates []jose.JSONWebKey
	for _, key := range keys {
		if (header.KeyID == "" || key.KeyID == header.KeyID) && fits(key, header.Algorithm) {
			candidates = append(candidates, key)
		}
	}
	if len(candidates) > maxCandidates {
		return nil, errManyKeys
	}
	for _, key := range candidates {
		if err := ctx.Err(); err != nil {
			return nil, unreachable(s.address, err)
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, errSignature
}

// fits reports whether a key can have signed with an algorithm.
func fits(key jose.JSONWebKey, algorithm string) bool {
	if key.Algorithm != "" && key.Algorithm != algorithm {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[public.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// fetch asks for the keys. Concurrent calls share one request.
func (s *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	fetched := s.fetches.DoChan("", func() (any, error) {
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

const (
	// maxKeys is the maximum number of keys of a provider.
	maxKeys = 64
	// minRSA and maxRSA bound an RSA key in bits. A signature check with a key of 256
	// kilobits takes seconds, and each logout token that an attacker sends costs one.
	minRSA = 2048
	maxRSA = 8192
	maxExp = 1<<31 - 1 // of an RSA key
)

// parseKeys returns the public keys for signatures of a JWK Set. It leaves out keys of
// other kinds, as RFC 7517, section 5 says, and RSA keys beyond the bounds.
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
		if json.Unmarshal(raw, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" || !withinBounds(key) {
			continue
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("the document has no public key for signatures; an RSA key must have %d to %d bits and an odd exponent from 3 to %d", minRSA, maxRSA, maxExp)
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("the document has %d keys; at most %d are accepted", len(keys), maxKeys)
	}
	return keys, nil
}

// withinBounds reports whether a signature check with a key is cheap and safe.
func withinBounds(key jose.JSONWebKey) bool {
	public, ok := key.Key.(*rsa.PublicKey)
	if !ok {
		return true
	}
	bits := public.N.BitLen()
	return minRSA <= bits && bits <= maxRSA && 3 <= public.E && public.E <= maxExp && public.E%2 == 1
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
