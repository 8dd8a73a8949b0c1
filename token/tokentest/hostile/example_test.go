package hostile_test

import (
	"context"
	"errors"
	"fmt"

	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

// exampleTB is what an issuer needs of a test.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleTB) Cleanup(func())                    {}

// A validator refuses every token, each for its reason.
func Example() {
	issuer := tokentest.New(exampleTB{})
	validator := issuer.Validator() // the validator under test
	wrong := 0
	for _, h := range hostile.Tokens(issuer) {
		if _, err := validator.Validate(context.Background(), h.Raw); !errors.Is(err, h.Want) {
			wrong++
			fmt.Println(h.Name, err)
		}
	}
	fmt.Println(wrong, "accepted, or refused for another reason")
	// Output: 0 accepted, or refused for another reason
}
