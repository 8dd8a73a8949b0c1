package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"example.com/curfew/internal/account"
	"example.com/curfew/internal/app"
)

// passwordFlags say where a password comes from. It never comes from an argument:
// other users of the machine see those.
type passwordFlags struct {
	generate bool
	none     bool
}

func (f *passwordFlags) add(command *cobra.Command) {
	command.Flags().BoolVar(&f.generate, "generate-password", false, "generate a password and show it once")
}

// maxPassword is more than any password may have; the accounts say how much
// exactly.
const maxPassword = 1 << 16

// newPassword returns a password: made up, typed twice at a terminal without
// being shown, or read from standard input as it is, without the newline at its
// end.
func (c *cli) newPassword(f passwordFlags) (password string, generated bool, err error) {
	switch {
	case f.none && f.generate:
		return "", false, usagef("--no-password and --generate-password exclude each other")
	case f.none:
		return "", false, nil
	case f.generate:
		return account.GeneratePassword(), true, nil
	}
	if terminal := c.inputTerminal(); terminal != nil {
		password, err = c.askTwice(terminal)
		return password, false, err
	}
	password, err = c.pipedPassword()
	if err == nil && password == "" {
		err = errors.New("read the password from standard input: it is empty; use --generate-password to generate one")
	}
	return password, false, err
}

// pipedPassword reads a password from standard input.
func (c *cli) pipedPassword() (string, error) {
	password, err := c.readSecret("-")
	if err != nil {
		return "", fmt.Errorf("read the password from standard input: %w", err)
	}
	return password, nil
}

// readSecret reads a secret from a file, without the newline at its end; - is standard
// input.
func (c *cli) readSecret(name string) (string, error) {
	data, err := c.readFile(name, maxPassword)
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), err
}

// inputTerminal returns standard input if it is a terminal, else nil.
func (c *cli) inputTerminal() *os.File {
	if file, ok := c.stdin.(*os.File); ok && app.IsTerminal(file) {
		return file
	}
	return nil
}

// signInPassword returns the password of a sign-in: typed at a terminal without being
// shown, or read from standard input.
func (c *cli) signInPassword() (string, error) {
	if terminal := c.inputTerminal(); terminal != nil {
		return c.askHidden(terminal, "Password: ")
	}
	return c.pipedPassword()
}

// errNoTerminal means that there is no terminal to ask for a password at.
var errNoTerminal = errors.New("the input is no terminal")

// ownPassword asks at a terminal for the password of the user who is signed in.
func (c *cli) ownPassword() (string, error) {
	terminal := c.inputTerminal()
	if terminal == nil {
		return "", errNoTerminal
	}
	c.notef("the server asks for your password again")
	return c.askHidden(terminal, "Your password: ")
}

// askHidden asks at a terminal for a text that is not shown.
func (c *cli) askHidden(terminal *os.File, prompt string) (string, error) {
	_, _ = fmt.Fprint(c.stderr, prompt)
	answer, err := term.ReadPassword(int(terminal.Fd())) // #nosec G115 -- a file descriptor
	_, _ = fmt.Fprintln(c.stderr)
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(answer), nil
}

func (c *cli) askTwice(terminal *os.File) (string, error) {
	first, err := c.askHidden(terminal, "New password: ")
	if err != nil {
		return "", err
	}
	second, err := c.askHidden(terminal, "Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

// printPassword shows a password that was made up; "" shows nothing.
func (c *cli) printPassword(password string) {
	if password != "" {
		c.printf("password: %s (not shown again)\n", password)
	}
}
