package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/wire"
)

// oldSecretFor is how long a secret stays valid after a new one was created, so
// that services can be changed over one by one.
const oldSecretFor = 24 * time.Hour

// newSecret returns 130 random bits and the hash to store. A random secret needs no
// slow hash: it cannot be guessed by trying.
func newSecret() (secret, hash string) {
	secret = rand.Text()
	return secret, hashSecret(secret)
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// ClientCaller returns the client with an id and a secret; the error is
// [authz.ErrBadClient] or the store's.
func (s *Service) ClientCaller(ctx context.Context, id, secret string, from authz.Origin) (authz.Caller, error) {
	c, err := s.store.Client(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return authz.Caller{}, err
	}
	hash := hashSecret(secret)
	if good := authz.HasSecret(c, hash, s.now()); err != nil || !good {
		return authz.Caller{}, authz.ErrBadClient
	}
	return authz.Caller{
		Actor:  store.Actor{Kind: store.ActorClient, ID: c.ID, Name: c.Name, Address: from.Address, RequestID: from.RequestID},
		Client: &c, SecretHash: hash,
	}, nil
}

// Clients returns all clients, by name.
func (s *Service) Clients(ctx context.Context, c authz.Caller) ([]store.Client, error) {
	if err := c.MayAdminister(); err != nil {
		return nil, err
	}
	return s.store.Clients(ctx)
}

// NewClient describes a client that is about to be created. Both members are
// required.
type NewClient struct {
	Name         string
	Capabilities []string
}

// CreateClient creates a client and returns its secret, which cannot be read again
// later. The id is made from the name if possible.
func (s *Service) CreateClient(ctx context.Context, c authz.Caller, made NewClient) (store.Client, string, error) {
	if err := c.MayAdminister(); err != nil {
		return store.Client{}, "", err
	}
	name, _, err := NormalizeName(made.Name)
	var wrong Invalid
	if invalid := (*Invalid)(nil); errors.As(err, &invalid) {
		wrong.Fields = append(wrong.Fields, invalid.Fields...)
	}
	capabilities := slices.Clone(made.Capabilities)
	slices.Sort(capabilities)
	capabilities = slices.Compact(capabilities)
	if len(capabilities) == 0 {
		wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "capabilities", Detail: "must contain at least one of " + oneOf(store.Capabilities())})
	}
	for _, name := range capabilities {
		if !slices.Contains(store.Capabilities(), name) {
			wrong.Fields = append(wrong.Fields, wire.FieldError{Field: "capabilities", Detail: fmt.Sprintf("contains %q; valid values are %s", name, oneOf(store.Capabilities()))})
		}
	}
	if len(wrong.Fields) > 0 {
		return store.Client{}, "", &wrong
	}
	secret, hash := newSecret()
	client := store.Client{Name: name, Capabilities: capabilities, SecretHash: hash}
	client, err = s.changeClient(ctx, c, authz.CreateClient, wire.ActionClientCreate, func(tx store.Tx) (store.Client, error) {
		client.ID = clientID(name)
		if _, err := tx.Client(ctx, client.ID); client.ID == "" || err == nil {
			client.ID = strings.TrimPrefix(client.ID+"-"+strings.ToLower(rand.Text()[:8]), "-")
		} else if !errors.Is(err, store.ErrNotFound) {
			return client, err
		}
		client.CreatedAt = s.now().UnixMicro()
		return client, nil
	})
	return client, secret, err
}

// clientID returns the id that a name suggests, or "".
func clientID(name string) string {
	id := strings.ToLower(strings.ReplaceAll(name, " ", "-"))
	for _, r := range id {
		if (r < 'a' || 'z' < r) && (r < '0' || '9' < r) && r != '-' && r != '_' && r != '.' {
			return ""
		}
	}
	// The id appears in paths and on command lines.
	if len(id) > 64 || id == "me" || strings.HasPrefix(id, ".") || strings.HasPrefix(id, "-") {
		return ""
	}
	return id
}

// changeClient writes the result of change for a client, with the clock locked, and
// an audit entry. The caller must administer the system, and may do op.
func (s *Service) changeClient(ctx context.Context, c authz.Caller, op authz.Operation, action string, change func(store.Tx) (store.Client, error)) (client store.Client, err error) {
	err = s.store.Update(ctx, c, authz.Recently(op, authz.Caller.MayAdminister), func(tx authz.Tx) error {
		if client, err = change(tx); err != nil {
			return err
		}
		client.Epoch = tx.Epoch
		if err := tx.PutClient(ctx, client); err != nil {
			return err
		}
		return tx.AppendAudit(ctx, store.Audit{
			At: s.now().UnixMicro(), Actor: tx.Caller.Actor, Action: action, TargetKind: "client", TargetID: client.ID, TargetName: client.Name,
			Epoch: tx.Epoch, Detail: detail(map[string]any{"capabilities": client.Capabilities}),
		})
	})
	if err == nil && s.config.Applied != nil {
		s.config.Applied() // pending polls of the client are answered from the next view
	}
	return client, err
}

// NewSecret gives a client a new secret. The current secret stays valid for another
// 24 hours, or until the next new secret. With revokeOld the old secrets end at
// once, for use after a leak.
func (s *Service) NewSecret(ctx context.Context, c authz.Caller, id string, revokeOld bool) (store.Client, string, error) {
	if err := c.MayAdminister(); err != nil {
		return store.Client{}, "", err
	}
	secret, hash := newSecret()
	client, err := s.changeClient(ctx, c, authz.CreateSecret, wire.ActionClientSecret, func(tx store.Tx) (store.Client, error) {
		client, err := tx.Client(ctx, id)
		client.OldSecretHash, client.OldSecretUntil = client.SecretHash, s.now().Add(oldSecretFor).UnixMicro()
		if revokeOld {
			client.OldSecretHash, client.OldSecretUntil = "", 0
		}
		client.SecretHash = hash
		return client, err
	})
	return client, secret, err
}

// DeleteClient deletes a client. Its secrets end at once.
func (s *Service) DeleteClient(ctx context.Context, c authz.Caller, id string) error {
	if err := c.MayAdminister(); err != nil {
		return err
	}
	_, err := s.changeClient(ctx, c, authz.DeleteClient, wire.ActionClientDelete, func(tx store.Tx) (store.Client, error) {
		client, err := tx.Client(ctx, id)
		client.Deleted = true
		client.SecretHash, client.OldSecretHash, client.OldSecretUntil = "", "", 0
		return client, err
	})
	return err
}

// oneOf lists the allowed words in a sentence: "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
