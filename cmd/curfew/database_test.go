package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/store/pgtest"
)

// When PostgreSQL hangs or is gone, a command soon prints one line and exits with
// code 1, so that users see what it waited for.
func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	pg := pgtest.Start(t, pgtest.Options{})
	if err := pg.CreateDatabase("curfew"); err != nil {
		t.Fatal(err)
	}
	env := []string{"CURFEW_DATABASE=" + pg.DSN("curfew"), "CURFEW_KEY_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}
	p := startServer(t, &serverProcess{env: env})
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	commands := [][]string{
		{"serve", "--database-wait", "0", "--listen", "127.0.0.1:0", "--metrics-listen", ""},
		{"revoke", "everyone", "--yes"},
		{"user", "list"},
	}
	fails := func(t *testing.T) {
		t.Helper()
		for _, args := range commands {
			ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
			cmd := exec.CommandContext(ctx, program(t), args...)
			var out, log bytes.Buffer
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, &out, &log
			began := time.Now()
			err := cmd.Run()
			took := time.Since(began)
			cancel()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != exitFailed {
				t.Errorf("%v: %v, want exit code %d", args, err, exitFailed)
			}
			if text := log.String(); !strings.HasPrefix(text, "curfew: ") || strings.Count(text, "\n") != 1 {
				t.Errorf("%v: want one line:\n%s", args, text)
			}
			if out.Len() > 0 {
				t.Errorf("%v: said %s", args, out.String())
			}
			if took > 3*time.Second*slower {
				t.Errorf("%v: after %v", args, took)
			}
			t.Logf("%v: after %v: %s", args, took.Round(time.Millisecond), log.String())
		}
	}
	t.Run("hangs", func(t *testing.T) {
		if err := pg.Pause(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := pg.Resume(); err != nil {
				t.Error(err)
			}
		}()
		fails(t)
	})
	t.Run("is gone", func(t *testing.T) {
		if err := pg.Kill(); err != nil {
			t.Fatal(err)
		}
		fails(t)
	})
}
