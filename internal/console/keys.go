package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/store"
)

type keysView struct {
	frame
	Keys []keyView
	Past []keyView // retired: no longer trusted
}

type keyView struct {
	Number               int // among those on the page
	ID, Algorithm, State string
	Meaning              string // of the state
	Made, Signed         when   // Signed: since when it signs
	Retires              when   // when a retiring key's time is up
	Retired              when
	JWK                  string // indented
	Retire               string // address of the page that retires it in an emergency
}

var keyMeanings = map[string]string{
	store.KeyNext:     "Published and trusted in advance, so that every validator has it before it signs.",
	store.KeyActive:   "Signs every new session and every refresh.",
	store.KeyRetiring: "No longer signs. Sessions that it signed stay valid.",
	store.KeyRetired:  "No longer trusted.",
}

func (c *console) keys(x *exchange) error {
	all, err := c.config.Ring.List(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view := keysView{frame: x.frame("Signing keys", "/keys", "Configuration")}
	for i, row := range slices.Backward(all) { // the youngest first
		k := x.keyView(row)
		k.Number = i
		if k.State == store.KeyRetired {
			view.Past = append(view.Past, k)
		} else {
			view.Keys = append(view.Keys, k)
		}
	}
	return x.ok("keys", view)
}

func (x *exchange) keyView(k store.Key) keyView {
	return keyView{
		ID: k.ID, Algorithm: k.Algorithm, State: k.State, Meaning: keyMeanings[k.State],
		Made: x.micro(k.CreatedAt), Signed: x.micro(k.ActivatedAt), Retires: x.micro(k.RetireAt), Retired: x.micro(k.RetiredAt),
		JWK:    indented(k.PublicJWK),
		Retire: address("/keys/retire", url.Values{"kid": {k.ID}}),
	}
}

func indented(document string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(document), "", "  "); err != nil {
		return document
	}
	return b.String()
}

func (c *console) confirmRotate(x *exchange) error { return x.showRotate(http.StatusOK, "") }

func (x *exchange) showRotate(status int, wrong string) error {
	return x.render(status, "confirm", confirmView{
		frame: x.frame("Rotate the signing keys?", "/keys", "Configuration", "Signing keys"),
		Lines: []string{
			"The next key becomes active and signs from then on. The current key stays trusted until the last session that it signed has ended, so no user is signed out.",
		},
		Action: "/keys/rotate", Button: "Rotate", Cancel: "/keys", Error: wrong,
	})
}

func (c *console) rotate(x *exchange) error {
	k, from, err := c.config.Ring.Rotate(x.ctx, x.caller, "", "")
	if errors.Is(err, keyring.ErrNotNow) {
		return x.showRotate(http.StatusConflict, sentence(err))
	}
	if err != nil {
		return err
	}
	if k.State != store.KeyActive && from.After(x.now()) {
		return x.redirect("/keys", "done", "scheduled")
	}
	return x.redirect("/keys", "done", "rotated")
}

func (x *exchange) keyAsked() (store.Key, error) {
	all, err := x.config.Ring.List(x.ctx, x.caller)
	if err != nil {
		return store.Key{}, err
	}
	for _, k := range all {
		if k.ID == x.value("kid") && k.State != store.KeyRetired {
			return k, nil
		}
	}
	return store.Key{}, store.ErrNotFound
}

func (c *console) confirmRetire(x *exchange) error { return x.showRetire(http.StatusOK, "") }

func (x *exchange) showRetire(status int, wrong string) error {
	k, err := x.keyAsked()
	if err != nil {
		return err
	}
	n, err := x.config.Sessions.CountLive(x.ctx, x.caller, "", k.ID)
	if err != nil {
		return err
	}
	lines := []string{
		"Key " + clip(k.ID, 100) + ". Use this if the key may be compromised. All sessions signed with it end immediately.",
	}
	if n.Sessions == 0 {
		lines = append(lines, "It signed none of the live sessions.")
	} else {
		lines = append(lines, "This ends "+count(n.Sessions, "live session")+" of "+count(n.Users, "person")+".")
	}
	if x.session.KeyID == k.ID {
		lines = append(lines, "This includes your own session: you are signed out here.")
	}
	if k.State == store.KeyActive {
		lines = append(lines, "This is the active key. If no next key is ready on every validator, users can’t sign in for a few seconds until one is.")
	}
	return x.render(status, "confirm", confirmView{
		frame:  x.frame("Retire key "+clip(k.ID, 12)+" now?", "/keys", "Configuration", "Signing keys"),
		Lines:  lines,
		Action: "/keys/retire", Button: "Retire now", Cancel: "/keys", Harmful: true, Error: wrong,
		Fields:  []heldField{{Name: "kid", Value: k.ID}},
		Reasons: []string{"Key compromised", "Key lost", other}, Reason: x.text("reason"), Note: x.text("note"),
	})
}

func (c *console) retire(x *exchange) error {
	k, err := x.keyAsked()
	if err != nil {
		return err
	}
	reason, ok := x.reason()
	if !ok {
		return x.showRetire(http.StatusUnprocessableEntity, sayWhy)
	}
	_, err = c.config.Ring.Retire(x.ctx, x.caller, k.ID, reason)
	if errors.Is(err, keyring.ErrNotNow) {
		return x.showRetire(http.StatusConflict, sentence(err))
	}
	if err != nil {
		return err
	}
	if x.session.KeyID == k.ID {
		x.forget()
		return x.redirect("/sign-in", "why", "unknown_key", "return", "/keys")
	}
	return x.redirect("/keys", "done", "retired")
}
