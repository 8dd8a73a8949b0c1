package console

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"

	"example.com/curfew/internal/keyring"
	"example.com/curfew/internal/session"
	"example.com/curfew/internal/store"
)

// keyPages are the signing keys.
type keyPages struct {
	ring     *keyring.Ring
	sessions *session.Service
}

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

func (p *keyPages) keys(x *exchange) error {
	all, err := p.ring.List(x.ctx, x.caller)
	if err != nil {
		return err
	}
	view := keysView{frame: x.frame("Signing keys", "/keys", "Configuration")}
	for i, row := range slices.Backward(all) { // the active key, then the youngest first
		k := x.keyView(row)
		k.Number = i
		switch k.State {
		case store.KeyRetired:
			view.Past = append(view.Past, k)
		case store.KeyActive:
			view.Keys = slices.Insert(view.Keys, 0, k)
		default:
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

func (p *keyPages) askRotate(x *exchange) (confirmView, error) {
	return confirmView{
		frame: x.frame("Rotate the signing keys?", "/keys", "Configuration", "Signing keys"),
		Lines: []string{
			"The next key becomes active and signs from then on. The current key stays trusted until the last session that it signed has ended, so no user is signed out.",
		},
		Button: "Rotate", Cancel: "/keys",
	}, nil
}

func (p *keyPages) rotate(x *exchange, _ string) error {
	k, from, err := p.ring.Rotate(x.ctx, x.caller, "", "")
	if err != nil {
		return err
	}
	if k.State != store.KeyActive && from.After(x.now()) {
		return x.redirect("/keys", "done", "scheduled")
	}
	return x.redirect("/keys", "done", "rotated")
}

func (p *keyPages) keyAsked(x *exchange) (store.Key, error) {
	all, err := p.ring.List(x.ctx, x.caller)
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

func (p *keyPages) askRetire(x *exchange) (confirmView, error) {
	k, err := p.keyAsked(x)
	if err != nil {
		return confirmView{}, err
	}
	n, err := p.sessions.CountLive(x.ctx, x.caller, "", k.ID)
	if err != nil {
		return confirmView{}, err
	}
	lines := []string{
		"Key " + clip(k.ID, 100) + ". Use this if the key may be compromised. All sessions signed with it end immediately.",
	}
	if n.Sessions == 0 {
		lines = append(lines, "It signed none of the live sessions.")
	} else {
		lines = append(lines, "This ends "+count(n.Sessions, "live session")+" of "+count(n.Users, "user")+".")
	}
	if x.session.KeyID == k.ID {
		lines = append(lines, "This includes your own session: you are signed out here.")
	}
	if k.State == store.KeyActive {
		lines = append(lines, "This is the active key. If no next key is ready on every validator, users can’t sign in for a few seconds until one is.")
	}
	return confirmView{
		frame:  x.frame("Retire key "+clip(k.ID, 12)+" now?", "/keys", "Configuration", "Signing keys"),
		Lines:  lines,
		Button: "Retire now", Cancel: "/keys", Harmful: true,
		Fields: []heldField{{Name: "kid", Value: k.ID}},
	}, nil
}

func (p *keyPages) retire(x *exchange, reason string) error {
	k, err := p.keyAsked(x)
	if err != nil {
		return err
	}
	if _, err = p.ring.Retire(x.ctx, x.caller, k.ID, reason); err != nil {
		return err
	}
	if x.session.KeyID == k.ID {
		x.forget()
		return x.redirect("/sign-in", "why", "unknown_key", "return", "/keys")
	}
	return x.redirect("/keys", "done", "retired")
}
