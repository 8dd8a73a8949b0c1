package sqlstore

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

// contracting is what a Store knows of nodes of other versions.
type contracting struct {
	mu   sync.Mutex
	seen map[string]sighting // by id of the node
}

// sighting is the state of a node's row when it was first seen so.
type sighting struct {
	beat int64
	at   time.Time
}

// Contract runs the migrations that take away what older versions use, if no node of
// another version is alive. Otherwise it logs which node they wait for, and does
// nothing: they are needed by no version, so that a server works without them. A
// server calls it at its start and now and then.
//
// SQLite has one server at a time: there is no other node.
func (s *Store) Contract(ctx context.Context, log *slog.Logger) error {
	pending, err := s.pendingContractions(ctx)
	if err != nil || len(pending) == 0 {
		return err
	}
	dialect := goose.DialectSQLite3
	if s.d == postgresDialect {
		dialect = goose.DialectPostgres
		node, err := s.otherVersion(ctx)
		if err != nil {
			return err
		}
		if node != "" {
			log.InfoContext(ctx, "a migration that older versions do not work with waits until their nodes have ended", "migration", pending[0].name, "node", node)
			return nil
		}
	}
	p, err := provider(dialect, s.write.DB)
	if err != nil {
		return err
	}
	for _, m := range pending {
		if _, err := p.ApplyVersion(ctx, m.version, true); err != nil {
			if left, lerr := s.pendingContractions(ctx); lerr == nil && !slices.Contains(left, m) {
				continue // another node was faster
			}
			_, err = s.d.explain(ctx, "migration "+m.name, err)
			return err
		}
		log.InfoContext(ctx, "a migration that older versions do not work with has run", "migration", m.name)
	}
	return nil
}

// pendingContractions returns the contracting migrations that have not run.
func (s *Store) pendingContractions(ctx context.Context) ([]migration, error) {
	known, err := knownMigrations()
	if err != nil {
		return nil, err
	}
	pending := slices.DeleteFunc(known, func(m migration) bool { return !m.contracts })
	if len(pending) == 0 {
		return nil, nil
	}
	applied, err := appliedSchema(ctx, s.read.DB)
	if err != nil {
		_, err = s.d.explain(ctx, "read the schema version", err)
		return nil, err
	}
	return slices.DeleteFunc(pending, func(m migration) bool { return slices.Contains(applied, m.version) }), nil
}

// otherVersion returns the name and version of a node of another version that may be
// alive, or "". The row of a node that was killed stays: it counts as alive until it has
// not moved for two of its leases.
func (s *Store) otherVersion(ctx context.Context) (string, error) {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return "", err
	}
	s.contracting.mu.Lock()
	defer s.contracting.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]sighting{}
	}
	now := time.Now() //nolint:forbidigo // only differences count, of the monotonic clock
	for _, n := range nodes {
		if n.Left || n.Version == s.version {
			continue
		}
		last, known := s.seen[n.ID]
		if !known || last.beat != n.Beat {
			last = sighting{n.Beat, now}
			s.seen[n.ID] = last
		}
		if now.Sub(last.at) < 2*time.Duration(n.LeaseMS)*time.Millisecond {
			return n.Name + " (" + n.Version + ")", nil
		}
	}
	return "", nil
}
