package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// confirmation is the question of a command that ends the sessions of many users, or
// that cannot be undone.
type confirmation struct {
	yes  bool
	word string // to be typed
}

func (c *confirmation) add(command *cobra.Command, word string) {
	c.word = word
	command.Flags().BoolVar(&c.yes, "yes", false, "do not ask; required where the input is no terminal")
}

// confirm asks, at a terminal, and returns an error unless the word is typed. Without a
// terminal --yes is required, so that a script that runs by mistake ends no session.
// what says what the command does.
func (c *cli) confirm(q confirmation, what string) error {
	if q.yes {
		return nil
	}
	terminal := c.inputTerminal()
	if terminal == nil {
		return usagef("this %s; add --yes", what)
	}
	_, _ = fmt.Fprintf(c.stderr, "This %s. Type %q to confirm: ", plain(what), plain(q.word))
	line, err := bufio.NewReader(terminal).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if strings.TrimSpace(line) != q.word {
		return errors.New("not confirmed; nothing was changed")
	}
	return nil
}
