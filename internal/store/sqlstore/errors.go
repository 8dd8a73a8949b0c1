package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"example.com/curfew/internal/store"
)

// failed wraps the error of an operation with the sentinels of package store. It
// includes no statement text and no parameters.
func (q *queries) failed(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	again, mapped := q.d.explain(ctx, what, err)
	if again && q.again != nil {
		*q.again = true
	}
	return mapped
}

// explain maps an error of database/sql, of a driver or of a context to the
// sentinels of package store.
func (d *dialect) explain(ctx context.Context, what string, err error) (again bool, mapped error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	case isOurs(err):
		return false, fmt.Errorf("%s: %w", what, err)
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errBudget):
		return false, fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, errBudget)
	case ctx.Err() != nil:
		return false, fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, context.Cause(ctx))
	}
	if m := d.diagnose(err); m.sentinel != nil {
		if errors.Is(m.sentinel, store.ErrLocked) || errors.Is(m.sentinel, store.ErrDisk) {
			// The caller can only try again later.
			return m.again, fmt.Errorf("%s: %w: %w: %s", what, store.ErrUnavailable, m.sentinel, m.text)
		}
		return m.again, fmt.Errorf("%s: %w: %s", what, m.sentinel, m.text)
	}
	return false, fmt.Errorf("%s: %w: %w", what, store.ErrUnavailable, err)
}

// isOurs reports whether err already wraps a sentinel of package store.
func isOurs(err error) bool {
	for _, sentinel := range []error{
		store.ErrNotFound, store.ErrConflict, store.ErrUnavailable, store.ErrNewerSchema, store.ErrOlderSchema,
		store.ErrForeign, store.ErrCorrupt, store.ErrLocked, store.ErrDisk,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}
