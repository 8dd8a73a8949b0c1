package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/settings"
	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// localView is the view of a program that itself makes every change: it is always
// current.
type localView struct{ epoch revocation.Epoch }

func (v *localView) Epoch() revocation.Epoch         { return v.epoch }
func (*localView) Trusted(time.Time) bool            { return true }
func (*localView) CatchUp(ctx context.Context) error { return ctx.Err() }

// A validator decides from memory. A service that follows a Curfew server gets one
// from package follower, which keeps keys, settings and revocations current. Here
// the program holds them itself.
func Example() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	key, err := token.NewSigningKey("2026-11", private)
	if err != nil {
		panic(err)
	}
	trusted, err := token.NewKeySet(&key.Key)
	if err != nil {
		panic(err)
	}
	var keys token.Keys
	keys.Set(trusted)
	revocations := revocation.NewCache(revocation.CacheConfig{})
	defer revocations.Close()
	view := &localView{epoch: revocation.Epoch(time.Now().UnixMicro())}

	validator, err := token.NewValidator(token.Config{
		Issuer: "https://curfew.example", Audience: "billing",
		Keys: &keys, Settings: new(settings.Value), Revocations: revocations, View: view,
	})
	if err != nil {
		panic(err)
	}
	defer validator.Close()

	session := token.Session{
		Issuer: "https://curfew.example", Audience: []string{"billing"},
		Subject: "ann", ID: token.NewSessionID(),
		IssuedAt: token.UnixTime(time.Now().Unix()), Epoch: view.epoch,
	}.Refreshed(time.Now(), settings.Default())
	raw, err := token.Mint(key, session)
	if err != nil {
		panic(err)
	}

	accepted, err := validator.Validate(context.Background(), raw)
	fmt.Println(accepted.Subject, err)

	view.epoch = view.epoch.Next(time.Now())
	revocations.Apply(revocation.Revocation{Scope: revocation.User("ann"), Epoch: view.epoch})
	_, err = validator.Validate(context.Background(), raw)
	fmt.Println(token.ReasonOf(err))
	// Output:
	// ann <nil>
	// revoked
}

// A stream ends when its session ends.
func ExampleValidator_Watch() {
	issuer, validator := newIssuer() // of package tokentest
	watch, err := validator.Watch(context.Background(), issuer.Token("ann"), 0)
	if err != nil {
		panic(err)
	}
	defer watch.Stop()

	done := watch.Context().Done()
	issuer.Revoke(revocation.User("ann"))
	<-done
	fmt.Println(token.ReasonOf(context.Cause(watch.Context())))
	// Output: revoked
}

// exampleTB is what an issuer needs of a test.
type exampleTB struct{}

func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleTB) Cleanup(func())                    {}

func newIssuer() (*tokentest.Issuer, *token.Validator) {
	issuer := tokentest.New(exampleTB{})
	return issuer, issuer.Validator()
}
