package pgtest

import (
	"testing"
)

// Standby starts a second server that follows s, from a base backup of it. It
// takes s's settings along; options.TCP gives it a port of its own. To make
// commits on s wait for it, set synchronous_standby_names there to '*'.
func (s *Server) Standby(tb testing.TB, options Options) *Server {
	tb.Helper()
	return forTest(tb, "standby", func() (*Server, error) { return s.openStandby(options) })
}

func (s *Server) openStandby(options Options) (*Server, error) {
	standby, err := prepare(options)
	if err != nil {
		return nil, err
	}
	standby.password = s.password // its roles are copied with everything else
	return begin(standby,
		func() error {
			_, err := standby.run(standby.owner, "pg_basebackup", "-D", standby.data, "-d", s.DSN("postgres"),
				"--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync")
			return err
		},
		func() error { return standby.configure(options) },
		standby.Start)
}
