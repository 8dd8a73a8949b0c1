package token_test

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
)

// numberedGroups returns n groups of size bytes each.
func numberedGroups(n, size int) []string {
	groups := make([]string, n)
	for i := range groups {
		groups[i] = fmt.Sprintf("%0*d", size, i)
	}
	return groups
}

// A validator returns the identity that was minted. The second validation is of the
// remembered token.
func TestIdentityIsCarried(t *testing.T) {
	for name, test := range map[string]struct {
		name, email string
		groups      []string
	}{
		"none":              {},
		"a name":            {name: "ann"},
		"all":               {name: "Zoë Ångström", email: "zoe@example.com", groups: []string{"ops", "admins"}},
		"no groups":         {name: "ann", groups: []string{}},
		"quotes":            {name: `a"b\c`, email: `"a b"@example.com`, groups: []string{`","x":"`}},
		"longest texts":     {name: strings.Repeat("n", 512), email: strings.Repeat("e", 512), groups: []string{strings.Repeat("g", 512)}},
		"the most groups":   {groups: numberedGroups(256, 3)},
		"emoji and joiners": {name: "\U0001f468\u200d\U0001f469", groups: []string{"\u2028"}},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := tokentest.New(t)
			v := issuer.Validator()
			for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
				minted := issuer.Session("u1").WithIdentity(test.name, test.email, test.groups)
				raw := issuer.MintWith(alg, minted)
				for _, when := range []string{"first", "remembered"} {
					s, err := v.Validate(t.Context(), raw)
					if err != nil {
						t.Fatalf("%s: %v", when, err)
					}
					if s.Name != test.name || s.Email != test.email || !reflect.DeepEqual(s.Groups, test.groups) || s.IdentityOmitted {
						t.Errorf("%s, %s: got %q %q %q, omitted %v", alg, when, s.Name, s.Email, s.Groups, s.IdentityOmitted)
					}
				}
				if x := v.Explain(t.Context(), raw); x.Session == nil || x.Session.Name != test.name || !reflect.DeepEqual(x.Session.Groups, test.groups) {
					t.Errorf("Explain = %+v", x.Session)
				}
			}
		})
	}
}

// A refresh replaces the identity, and no part of the old one remains.
func TestWithIdentityReplaces(t *testing.T) {
	s := tokentest.New(t).Session("u1").WithIdentity("ann", "ann@example.com", numberedGroups(257, 3))
	if s.Groups != nil || !s.IdentityOmitted {
		t.Fatalf("257 groups: %d carried, omitted %v", len(s.Groups), s.IdentityOmitted)
	}
	groups := []string{"ops", "dev", "ops"}
	next := s.WithIdentity("anna", "", groups)
	if next.Name != "anna" || next.Email != "" || !reflect.DeepEqual(next.Groups, []string{"ops", "dev"}) || next.IdentityOmitted {
		t.Errorf("got %q %q %q, omitted %v", next.Name, next.Email, next.Groups, next.IdentityOmitted)
	}
	if groups[2] != "ops" {
		t.Errorf("the caller's groups became %q", groups)
	}
}

// A text that no token may carry does not stop a sign-in: it is left out, and the
// token says that something is missing.
func TestIdentityThatCannotBeCarried(t *testing.T) {
	long := strings.Repeat("x", 513)
	for name, s := range map[string]token.Session{
		"name too long":        token.Session{}.WithIdentity(long, "", nil),
		"name with a newline":  token.Session{}.WithIdentity("ann\r\nRemote-Groups: admins", "", nil),
		"name with C1":         token.Session{}.WithIdentity("ann\u0085", "", nil),
		"name in Latin-1":      token.Session{}.WithIdentity("Zo\xeb", "", nil),
		"email too long":       token.Session{}.WithIdentity("", long, nil),
		"email with NUL":       token.Session{}.WithIdentity("", "a\x00@example.com", nil),
		"group too long":       token.Session{}.WithIdentity("", "", []string{"ops", long}),
		"empty group":          token.Session{}.WithIdentity("", "", []string{"ops", ""}),
		"group with a newline": token.Session{}.WithIdentity("", "", []string{"ops\nadmins"}),
		"257 groups":           token.Session{}.WithIdentity("", "", numberedGroups(257, 3)),
	} {
		if s.Name != "" || s.Email != "" || s.Groups != nil || !s.IdentityOmitted {
			t.Errorf("%s: got %q %q %q, omitted %v", name, s.Name, s.Email, s.Groups, s.IdentityOmitted)
		}
	}
}

// The identity never makes a token longer than 3800 bytes, whatever the algorithm.
// Groups are left out as a whole, then the email address, then the name.
func TestIdentityFitsIntoACookie(t *testing.T) {
	const maxLength = 3800
	issuer := tokentest.New(t)
	v := issuer.Validator()
	for _, alg := range []string{token.ES256, token.EdDSA, token.RS256} {
		carried, omitted := 0, 0
		for n := range 257 {
			raw := issuer.MintWith(alg, issuer.Session("u1").WithIdentity("ann", "ann@example.com", numberedGroups(n, 40)))
			if len(raw) > maxLength {
				t.Fatalf("%s: %d bytes with %d groups", alg, len(raw), n)
			}
			s, err := v.Validate(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case s.Name != "ann" || s.Email != "ann@example.com":
				t.Fatalf("%s, %d groups: name %q, email %q", alg, n, s.Name, s.Email)
			case len(s.Groups) == n && !s.IdentityOmitted:
				if carried++; omitted > 0 {
					t.Fatalf("%s: %d groups are carried, but fewer were not", alg, n)
				}
			case s.Groups == nil && s.IdentityOmitted:
				omitted++
			default:
				t.Fatalf("%s: %d of %d groups, omitted %v", alg, len(s.Groups), n, s.IdentityOmitted)
			}
		}
		if carried < 40 || omitted < 100 {
			t.Errorf("%s: groups are carried up to %d and omitted %d times", alg, carried, omitted)
		}
	}
	// The longer the audience, the less is carried. Each step is seen once.
	var steps []string
	for fill := range 3000 {
		s := issuer.Session("u1", func(s *token.Session) { s.Audience = append(s.Audience, strings.Repeat("x", fill)) })
		raw := issuer.Mint(s.WithIdentity("ann", strings.Repeat("e", 300), []string{strings.Repeat("g", 300)}))
		got, err := token.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		p := got.Session
		step := fmt.Sprintf("%v/%v/%v/%v", p.Name != "", p.Email != "", p.Groups != nil, p.IdentityOmitted)
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
		if p.Name != "" && len(raw) > maxLength {
			t.Fatalf("%d bytes with an identity", len(raw))
		}
	}
	if want := []string{"true/true/true/false", "true/true/false/true", "true/false/false/true", "false/false/false/true"}; !reflect.DeepEqual(steps, want) {
		t.Errorf("name, email, groups, omitted: %q, want %q", steps, want)
	}
}

// Mint itself refuses what WithIdentity would have left out.
func TestMintRefusesAnIdentityOutOfRange(t *testing.T) {
	issuer := tokentest.New(t)
	for name, change := range map[string]func(*token.Session){
		"name":              func(s *token.Session) { s.Name = "a\nb" },
		"email":             func(s *token.Session) { s.Email = strings.Repeat("e", 513) },
		"group":             func(s *token.Session) { s.Groups = []string{""} },
		"group twice":       func(s *token.Session) { s.Groups = []string{"a", "b", "a"} },
		"a group too many":  func(s *token.Session) { s.Groups = numberedGroups(257, 3) },
		"a name in Latin-1": func(s *token.Session) { s.Name = "\xe9" },
	} {
		if raw, err := token.Mint(issuer.Key(token.ES256), issuer.Session("u1", change)); !errors.Is(err, token.ErrMalformed) || raw != "" {
			t.Errorf("%s: Mint = %q, %v; want %v", name, raw, err, token.ErrMalformed)
		}
	}
}

// The bound on the memory of remembered tokens holds for tokens full of groups and
// for audiences that alternate, as the heap shows it and not only by the count.
func TestRememberedBytesWithIdentity(t *testing.T) {
	issuer := tokentest.New(t)
	config := issuer.Config()
	config.RememberedBytes = 1 << 20
	for name, session := range map[string]func(i int) token.Session{
		"many short groups": func(int) token.Session {
			return issuer.Session("u").WithIdentity("n", "", numberedGroups(256, 3))
		},
		"long texts": func(int) token.Session {
			return issuer.Session("u").WithIdentity(strings.Repeat("n", 500), strings.Repeat("e", 500), []string{strings.Repeat("g", 500), strings.Repeat("h", 500)})
		},
		"alternating audiences": func(i int) token.Session {
			return issuer.Session("u", func(s *token.Session) {
				s.Audience = append(s.Audience, strings.Repeat("x", 3000+i%2))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := token.NewValidator(config)
			if err != nil {
				t.Fatal(err)
			}
			before := liveHeap()
			for i := range 1500 {
				check(t, v, issuer.Mint(session(i)), "")
				if bytes := v.Remembered(); bytes > config.RememberedBytes {
					t.Fatalf("after %d tokens: %d bytes, allowed are %d", i+1, bytes, config.RememberedBytes)
				}
			}
			counted, held := v.Remembered(), int(int64(liveHeap())-int64(before))
			runtime.KeepAlive(v)
			if counted < config.RememberedBytes/2 {
				t.Errorf("only %d bytes of %d are used: nothing is remembered", counted, config.RememberedBytes)
			}
			// The allocator rounds each size up, by an eighth at most.
			if limit := counted + counted/8 + 1<<17; held > limit {
				t.Errorf("the heap holds %d bytes for %d counted, want %d at most", held, counted, limit)
			}
		})
	}
}
