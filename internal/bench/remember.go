package main

import "example.com/curfew/token"

// remember returns a change of configuration that makes a validator remember n
// tokens, with room to spare: the goal's 650 bytes for each and a third more.
func remember(n int) func(*token.Config) {
	return func(c *token.Config) { c.RememberedBytes = 64<<20 + n*870 }
}
