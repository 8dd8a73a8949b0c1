package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"example.com/curfew/internal/config"
	"example.com/curfew/internal/filelock"
	"example.com/curfew/internal/fileperm"
	"example.com/curfew/internal/wire"
)

func (c *cli) loginCommand() *cobra.Command {
	var rememberMe bool
	command := &cobra.Command{
		Use: "login NAME", Short: "Sign in to a server, for commands with --server", Args: arguments("NAME"),
		Long: "Signs in to a server with a name and a password, and keeps the session's token in a file that only you can read. " +
			"Commands with --server use and refresh it. The password is asked for, or read from standard input if that is not a terminal. If the user must change the password, a terminal asks for a new one. " +
			"Commands that end or grant much ask for the password again at a terminal, if the user last authenticated more than 15 minutes ago (serve --reauthenticate-within). " +
			"At a server where passwords are switched off, use the console, or CURFEW_TOKEN with a token that `curfew token issue` prints on the server.\n\n" +
			"The file is credentials.json in the directory curfew of your configuration (on Linux ~/.config/curfew), or the one that CURFEW_CREDENTIALS names.",
		Example: "  curfew login admin --server https://curfew.example",
	}
	flags := addOptions(command, config.RemoteOptions())
	command.Flags().BoolVar(&rememberMe, "remember-me", false, "start a remember-me session")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		server, client, known, err := openServer(flags)
		if err != nil {
			return err
		}
		password, err := c.signInPassword()
		if err != nil {
			return err
		}
		issued, err := c.signIn(cmd.Context(), client, wire.SignIn{Username: args[0], Password: password, RememberMe: rememberMe})
		if err != nil {
			return err
		}
		replaced := ""
		err = known.change(cmd.Context(), func() error {
			replaced = known.entries[server].Token
			known.put(server, issued)
			return nil
		})
		if err != nil {
			return err
		}
		if client.token = replaced; replaced != "" {
			// The session before goes with its token, as in a browser.
			if _, err := client.do(cmd.Context(), http.MethodDelete, "/v1/session", nil, nil, nil); err != nil {
				c.notef("the session before could not be ended: %s", err.Error())
			}
		}
		c.printf("signed in to %s as %s, until %s at the latest\n", server, issued.Session.User.Name, date(issued.Session.ExpiresAt))
		return nil
	}
	return command
}

// signIn begins a session. If the user must choose a new password, it asks for one at a
// terminal; elsewhere that is an error.
func (c *cli) signIn(ctx context.Context, client api, in wire.SignIn) (issued wire.Issued, err error) {
	_, err = client.do(ctx, http.MethodPost, "/v1/sessions", nil, in, &issued)
	if passwordsOff(err) {
		return issued, errPasswordsOff(client.server)
	}
	if e, ok := errors.AsType[*apiError](err); !ok || e.Code != wire.CodePasswordChangeRequired {
		return issued, err
	}
	terminal := c.inputTerminal()
	if terminal == nil {
		return issued, fmt.Errorf("the password is right, but must be changed first: sign in at %s/sign-in, or run `curfew login` at a terminal, and choose a new one", client.server)
	}
	c.notef("the password of this account must be changed; choose a new one to sign in")
	chosen, err := c.askTwice(terminal)
	if err != nil {
		return issued, err
	}
	in.NewPassword = &chosen
	_, err = client.do(ctx, http.MethodPost, "/v1/sessions", nil, in, &issued)
	return issued, err
}

func (c *cli) logoutCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "logout", Short: "Sign out of a server and forget the token", Args: arguments(),
		Long: "Ends the session that `curfew login` started and removes its token from the file. " +
			"If the server can't be reached, the token is kept, so that you can try again.",
		Example: "  curfew logout --server https://curfew.example",
	}
	flags := addOptions(command, config.RemoteOptions())
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		server, client, known, err := openServer(flags)
		if err != nil {
			return err
		}
		if _, ok := known.entries[server]; !ok {
			return notSignedIn(server)
		}
		err = known.change(cmd.Context(), func() error {
			client.token = known.entries[server].Token
			// The server answers with success for a session that has ended, too.
			if _, err := client.do(cmd.Context(), http.MethodDelete, "/v1/session", nil, nil, nil); err != nil {
				return err
			}
			delete(known.entries, server)
			return nil
		})
		if err != nil {
			return err
		}
		c.printf("signed out of %s\n", server)
		return nil
	}
	return command
}

// openServer returns the address of the server that the flags name, a client without a
// token, and the tokens that are kept.
func openServer(flags *given) (string, api, *credentials, error) {
	cfg, err := config.ResolveRemote(flags.source())
	if err != nil {
		return "", api{}, nil, err
	}
	client, err := newAPI(cfg)
	if err != nil {
		return "", api{}, nil, err
	}
	known, err := openCredentials(cfg.Credentials)
	return cfg.Server, client, known, err
}

func notSignedIn(server string) error {
	return fmt.Errorf("you are not signed in to %s; run `curfew login NAME --server %s`, or set CURFEW_TOKEN", server, server)
}

// credentials are the tokens of servers, in a file that only their owner may read.
type credentials struct {
	file    string
	entries map[string]credential // by address of the server
}

// credential is the latest token of a session.
type credential struct {
	Token    string    `json:"token"`
	Received time.Time `json:"received"`
}

// openCredentials reads the file; "" means the user's own. If it does not exist there
// are no credentials.
func openCredentials(file string) (*credentials, error) {
	if file == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("find the file of the credentials: %w; set CURFEW_CREDENTIALS to a file, or CURFEW_TOKEN to a token", err)
		}
		file = filepath.Join(dir, "curfew", "credentials.json")
	}
	c := &credentials{file: file}
	return c, c.read()
}

// read reads the file again.
func (c *credentials) read() error {
	c.entries = map[string]credential{}
	info, err := os.Stat(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = fileperm.Check(c.file, info)
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(c.file) // the operator's own
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c.entries); err != nil {
		return fmt.Errorf("read %s: %w; delete it and sign in again", c.file, err)
	}
	if c.entries == nil { // the file says null
		c.entries = map[string]credential{}
	}
	return nil
}

// change reads the file, changes the entries, and writes them, while no other process
// does. If do fails, nothing is written.
func (c *credentials) change(ctx context.Context, do func() error) (err error) {
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, credentialsWait)
	defer cancel()
	lock, err := filelock.Wait(ctx, c.file+".lock")
	if err != nil {
		return fmt.Errorf("change %s: %w", c.file, err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := c.read(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return c.write()
}

// credentialsWait is the maximum time to wait for another process: longer than its call
// of a server takes.
const credentialsWait = answerTime + 10*time.Second

func (c *credentials) put(server string, issued wire.Issued) {
	c.entries[server] = credential{issued.Token, time.Now().UTC()}
}

// write replaces the file in one step.
func (c *credentials) write() error {
	data, err := json.MarshalIndent(c.entries, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.file), filepath.Base(c.file)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// refreshAfter is the age from which on a token is refreshed: often enough that
// the session timeout, a minute at least, does not end a session in use.
const refreshAfter = 30 * time.Second

// fresh takes the token of the server from the entries, and reports whether it needs no
// refresh.
func (r *remote) fresh() (bool, error) {
	entry, ok := r.credentials.entries[r.server]
	if !ok {
		return false, notSignedIn(r.server)
	}
	r.token = entry.Token
	age := time.Since(entry.Received)
	return age >= 0 && age < refreshAfter, nil
}

// resume continues the session of the server: it takes the token from the file and
// refreshes it if it is not fresh. Of several processes one refreshes, and the others
// take its token.
func (r *remote) resume(ctx context.Context) error {
	if fresh, err := r.fresh(); fresh || err != nil {
		return err
	}
	return r.credentials.change(ctx, func() error {
		if fresh, err := r.fresh(); fresh || err != nil {
			return err
		}
		var issued wire.Issued
		if _, err := r.do(ctx, http.MethodPost, "/v1/session/refresh", nil, nil, &issued); err != nil {
			return err
		}
		r.token = issued.Token
		r.credentials.put(r.server, issued)
		return nil
	})
}
