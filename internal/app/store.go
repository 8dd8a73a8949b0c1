package app

import (
	"context"
	"log/slog"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
)

// openStore opens a database; only a server creates one.
func openStore(ctx context.Context, cfg config.Store, create bool, logger *slog.Logger) (store.Store, error) {
	return sqlstore.Open(ctx, sqlstore.Config{
		URL: string(cfg.Database), ListenURL: string(cfg.DatabaseListen), Create: create, Version: Version(), Logger: logger,
	})
}

// storeWarnings are warnings about the database for the operator of a server.
func storeWarnings(ctx context.Context, s store.Store) []string {
	if w, ok := s.(interface {
		Warnings(ctx context.Context) []string
	}); ok {
		return w.Warnings(ctx)
	}
	return nil
}

// contract runs the migrations that have waited for the end of older nodes.
func (a *App) contract(ctx context.Context) error {
	if c, ok := a.store.(interface {
		Contract(ctx context.Context, log *slog.Logger) error
	}); ok {
		return c.Contract(ctx, a.log)
	}
	return nil
}
