// Package tokenhook lets package token offer functions to Curfew's own packages that
// are not in its public face. Package servertoken has them with their types.
package tokenhook

import "context"

// The functions that package token provides. v is a *token.Validator, s a
// *token.Session.
var (
	Ending     func(ctx context.Context, v any, raw string) (s any, err error)
	Remembered func(ctx context.Context, v any, raw string) (s any)
)

// Provide sets the functions. Package token calls it when the program starts.
func Provide(ending func(context.Context, any, string) (any, error), remembered func(context.Context, any, string) any) struct{} {
	Ending, Remembered = ending, remembered
	return struct{}{}
}
