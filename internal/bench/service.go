package main

import (
	"context"
	"errors"
	"fmt"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/authz"
	"example.com/curfew/internal/bench/peers"
	"example.com/curfew/internal/feed"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// service is a node without a server in front of it: it shows the cost of a
// revocation after the request has been read and the caller's permission was
// checked.
type service struct {
	store    store.Store
	node     *feed.Node
	sessions *session.Service
}

func openService(ctx context.Context, dsn string) (s *service, err error) {
	s = &service{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.store, err = sqlstore.Open(ctx, sqlstore.Config{URL: dsn}); err != nil {
		return s, err
	}
	if s.node, err = feed.Open(ctx, feed.Config{Store: s.store, Name: "bench"}); err != nil {
		return s, err
	}
	accounts, err := account.New(account.Config{Store: s.store, Applied: s.node.Applied})
	if err != nil {
		return s, err
	}
	s.sessions = session.New(session.Config{Store: s.store, Accounts: accounts, View: s.node, Installation: s.node.Installation()})
	return s, nil
}

// revoke revokes the sessions of the i-th of n users.
func (s *service) revoke(i, n int) error {
	who := authz.Caller{Actor: store.Actor{Kind: store.ActorCLI, Name: "bench"}, Trusted: true}
	r, err := s.sessions.RevokeUser(context.Background(), who, peers.User(i%n), "bench", false, 0)
	if err == nil && r.Epoch == 0 {
		err = fmt.Errorf("a receipt without an epoch: %+v", r)
	}
	return err
}

func (s *service) close() error {
	var errs []error
	if s.sessions != nil {
		s.sessions.Close()
	}
	if s.node != nil {
		errs = append(errs, s.node.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
