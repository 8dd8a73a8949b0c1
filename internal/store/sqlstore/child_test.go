package sqlstore_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"example.com/curfew/internal/store"
	"example.com/curfew/internal/store/sqlstore"
	"example.com/curfew/revocation"
)

// What another process does is done by this test binary, started again with
// these in its environment.
const (
	childDoes = "CURFEW_SQLSTORE_CHILD"
	childOn   = "CURFEW_SQLSTORE_URL"
)

// children are what another process can be. Each says "ready" when it has come
// to where the test wants it, and goes on when its standard input ends.
var children = map[string]func(target string) error{
	// A server.
	"open": func(target string) error {
		s, err := sqlstore.Open(context.Background(), sqlstore.Config{URL: target, Create: true})
		if err != nil {
			return err
		}
		defer s.Close()
		ready()
		return nil
	},
	// A server that revokes once more at each line of input.
	"revoke": func(target string) error {
		s, err := sqlstore.Open(context.Background(), sqlstore.Config{URL: target})
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Println("ready")
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if _, err := revokeAt(context.Background(), s, time.Now(), revocation.User(lines.Text())); err != nil {
				return err
			}
		}
		return nil
	},
	// An operator with an SQLite shell who forgets to commit.
	"lock": func(target string) error {
		path := strings.TrimPrefix(target, "sqlite:")
		db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, OmitHost: true}).String())
		if err != nil {
			return err
		}
		defer db.Close()
		conn, err := db.Conn(context.Background())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		ready()
		return nil
	},
	// A node that is stopped where it holds the epoch clock.
	"stop": func(target string) error {
		s, err := sqlstore.Open(context.Background(), sqlstore.Config{URL: target})
		if err != nil {
			return err
		}
		defer s.Close()
		return s.Update(context.Background(), func(tx store.Tx) error {
			if _, err := tx.Advance(context.Background(), time.Now()); err != nil {
				return err
			}
			fmt.Println("ready")
			if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
				return err
			}
			select {} // the signal takes its time to reach all threads
		})
	},
}

func ready() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// child is another process.
type child struct {
	tb      testing.TB
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

// startChild starts a process and waits until it is ready. as may change how it
// is run.
func startChild(tb testing.TB, does, target string, as func(*exec.Cmd)) *child {
	tb.Helper()
	c := prepareChild(tb, does, target, as)
	noErr(tb, c.command.Start())
	line, _ := c.output.ReadString('\n')
	if line != "ready\n" {
		rest, _ := io.ReadAll(c.output)
		c.kill()
		tb.Fatalf("the other process says: %s%s", line, rest)
	}
	tb.Cleanup(c.kill)
	return c
}

func prepareChild(tb testing.TB, does, target string, as func(*exec.Cmd)) *child {
	tb.Helper()
	self, err := os.Executable()
	noErr(tb, err)
	c := &child{tb: tb, command: exec.CommandContext(tb.Context(), self)}
	c.command.Env = append(os.Environ(), childDoes+"="+does, childOn+"="+target)
	if as != nil {
		as(c.command)
	}
	c.input, err = c.command.StdinPipe()
	noErr(tb, err)
	output, err := c.command.StdoutPipe()
	noErr(tb, err)
	c.output = bufio.NewReader(output)
	c.command.Stderr = c.command.Stdout
	return c
}

// end lets the process go on, and waits until it has ended.
func (c *child) end() {
	c.tb.Helper()
	_ = c.input.Close()
	rest, _ := io.ReadAll(c.output)
	if err := c.command.Wait(); err != nil {
		c.tb.Fatalf("the other process: %v: %s", err, rest)
	}
}

// kill ends the process wherever it is.
func (c *child) kill() {
	if c.command.ProcessState == nil {
		_ = c.command.Process.Kill()
		_ = c.command.Wait()
	}
}

// asNobody runs a child as a user that file permissions bind, unlike root, and lets
// that user come as far as the test binary.
func asNobody(tb testing.TB) func(*exec.Cmd) {
	if os.Geteuid() != 0 {
		return nil
	}
	const nobody = 65534
	return func(c *exec.Cmd) {
		noErr(tb, os.Chmod(filepath.Dir(filepath.Dir(c.Path)), 0o755))
		noErr(tb, os.Chmod(filepath.Dir(c.Path), 0o755))
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// revokeAt revokes scopes with one epoch.
func revokeAt(ctx context.Context, s store.Store, now time.Time, scopes ...revocation.Scope) (e revocation.Epoch, err error) {
	err = s.Update(ctx, func(tx store.Tx) error {
		if e, err = tx.Advance(ctx, now); err != nil {
			return err
		}
		for _, scope := range scopes {
			if err := tx.PutRevocations(ctx, revocation.Revocation{Scope: scope, Epoch: e}); err != nil {
				return err
			}
		}
		return tx.AppendAudit(ctx, store.Audit{At: now.UnixMicro(), Epoch: e})
	})
	return e, err
}
