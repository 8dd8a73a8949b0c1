package sqlstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"example.com/curfew/internal/store"
)

// refusing is a PostgreSQL server that answers every start of a session with an
// error. It returns its address.
func refusing(t *testing.T, code, message string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var length [4]byte
			if _, err := io.ReadFull(conn, length[:]); err == nil {
				_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(length[:]))-4)
				body := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
				_, _ = conn.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(body))), body...))
			}
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestOpenTellsWhatCanPass(t *testing.T) {
	const (
		passes  = "passes"
		missing = "missing"
		stays   = "stays"
	)
	for _, c := range []struct{ code, message, want string }{
		{"57P03", "the database system is starting up", passes},
		{"57P01", "terminating connection due to administrator command", passes},
		{"53300", "sorry, too many clients already", passes},
		{"08006", "connection failure", passes},
		{"08P01", "pgbouncer cannot connect to server", passes},
		{"08P01", "no more connections allowed (max_client_conn)", passes},
		{"08P01", "unsupported startup parameter: jit", stays},
		{"28P01", `password authentication failed for user "curfew"`, stays},
		{"28000", `role "curfew" does not exist`, stays},
		{"42501", "permission denied for schema public", stays},
		{"3D000", `database "curfew" does not exist`, missing},
	} {
		t.Run(c.code+" "+c.message, func(t *testing.T) {
			url := "postgres://" + refusing(t, c.code, c.message) + "/curfew?sslmode=disable"
			_, err := Open(t.Context(), Config{URL: url, Create: true})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("%v, want ErrUnavailable", err)
			}
			if got := errors.Is(err, store.ErrNotReady); got != (c.want == passes) {
				t.Errorf("ErrNotReady: %v (%v)", got, err)
			}
			if got := errors.Is(err, store.ErrNoDatabase); got != (c.want == missing) {
				t.Errorf("ErrNoDatabase: %v (%v)", got, err)
			}
		})
	}
}

// With several hosts, one that an operator must mend decides.
func TestOutlookOfSeveralErrors(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	denied := &net.OpError{Op: "dial", Err: syscall.EACCES}
	code := func(code pqerror.Code) error { return &pq.Error{Code: code} }
	for name, c := range map[string]struct {
		err  error
		want outlook
	}{
		"refused":               {refused, mayPass},
		"refused, in a context": {fmt.Errorf("%w: %w", context.DeadlineExceeded, refused), mayPass},
		"not resolved":          {&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, mayPass},
		"socket not accessible": {denied, hopeless},
		"alert of TLS":          {&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, hopeless},
		"standby and refused":   {errors.Join(fmt.Errorf("a: %w", errors.New("server is in hot standby mode")), fmt.Errorf("b: %w", refused)), mayPass},
		"password and refused":  {errors.Join(refused, code("28P01")), hopeless},
		"refused and password":  {errors.Join(code("28P01"), refused), hopeless},
		"missing and refused":   {errors.Join(code("3D000"), refused), mayPass},
		"missing twice":         {errors.Join(code("3D000"), code("3D000")), noDatabase},
		"unknown":               {errors.New("a new one"), hopeless},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outlookOf(c.err); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
