package token_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/curfew/token"
	"example.com/curfew/token/tokentest"
	"example.com/curfew/token/tokentest/hostile"
)

const oldName, newName = "https://former.curfew.example", "https://curfew.example"

// moved is a validator of an installation that has moved from oldName to newName, and
// accepts the old name for ten minutes.
type moved struct {
	*tokentest.Issuer
	*token.Validator
	issuers *token.Issuers
	until   token.UnixTime
}

func newMoved(t *testing.T) *moved {
	t.Helper()
	m := &moved{Issuer: tokentest.New(t), issuers: &token.Issuers{}}
	m.Name = newName
	m.until = token.UnixTime(m.Now().Unix() + 600)
	m.set(t, newName, map[string]token.UnixTime{oldName: m.until})
	c := m.Config()
	c.Issuer, c.Issuers = "", m.issuers
	var err error
	if m.Validator, err = token.NewValidator(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Validator.Close)
	return m
}

func (m *moved) set(t *testing.T, issuer string, former map[string]token.UnixTime) {
	t.Helper()
	set, err := token.NewIssuerSet(issuer, former)
	if err != nil {
		t.Fatal(err)
	}
	m.issuers.Set(set)
}

// by returns a token of an issuer.
func (m *moved) by(issuer string) string {
	return m.Token("ann", remembered, func(s *token.Session) { s.Issuer = issuer })
}

func TestFormerIssuer(t *testing.T) {
	for _, test := range []struct {
		name  string
		after int64 // seconds, relative to the end
		want  token.Reason
	}{
		{"just before the end", -1, ""},
		{"at the end", 0, token.ErrWrongIssuer},
		{"just after the end", 1, token.ErrWrongIssuer},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMoved(t)
			old, current := m.by(oldName), m.by(newName)
			check(t, m.Validator, old, "") // and it is remembered from here on
			fresh := m.by(oldName)         // not seen before
			m.SetNow((m.until + token.UnixTime(test.after)).Time())
			check(t, m.Validator, old, test.want)
			check(t, m.Validator, fresh, test.want)
			check(t, m.Validator, current, "")
			if s := m.ValidateRemembered(t.Context(), old); (s != nil) != (test.want == "") {
				t.Errorf("remembered: %v", s)
			}
		})
	}
}

// Every name but the two is refused, however similar; and so is every hostile token.
func TestForeignIssuers(t *testing.T) {
	m := newMoved(t)
	for _, name := range []string{oldName, newName} {
		for _, foreign := range []string{
			name + "/", name + " ", " " + name, strings.ToUpper(name), name[:len(name)-1], name + ".attacker.example", name + "#", name + ":443",
			strings.Replace(name, "https", "http", 1), strings.Replace(name, "e", "\u0435", 1), name + "," + name, oldName + newName, newName + "," + oldName,
			"https://attacker.example", name + "\x00",
		} {
			check(t, m.Validator, m.by(foreign), token.ErrWrongIssuer)
		}
	}
	for _, h := range hostile.Tokens(m.Issuer) {
		if s, err := m.Validate(t.Context(), h.Raw); token.ReasonOf(err) != h.Want || s != nil {
			t.Errorf("%s: %v, %v; want %v", h.Name, s, err, h.Want)
		}
	}
	// Of the old issuer, all of them are refused too, for the same reasons.
	m.Name = oldName
	for _, h := range hostile.Tokens(m.Issuer) {
		if s, err := m.Validate(t.Context(), h.Raw); token.ReasonOf(err) != h.Want || s != nil {
			t.Errorf("of the old issuer, %s: %v, %v; want %v", h.Name, s, err, h.Want)
		}
	}
	check(t, m.Validator, m.by(oldName), "")
}

// Without a set no issuer is accepted.
func TestNoIssuerSet(t *testing.T) {
	m := newMoved(t)
	good := m.by(newName)
	check(t, m.Validator, good, "")
	m.issuers.Set(nil)
	check(t, m.Validator, good, token.ErrWrongIssuer)
	check(t, m.Validator, m.by(oldName), token.ErrWrongIssuer)
	check(t, m.Validator, m.by(newName), token.ErrWrongIssuer)
}

func TestNewIssuerSetRefuses(t *testing.T) {
	for name, former := range map[string]map[string]token.UnixTime{
		"no issuer":      nil,
		"no former name": {"": 1000},
		"the issuer":     {newName: 1000},
		"no end":         {oldName: 0},
		"before time":    {oldName: -1},
		"no date":        {oldName: token.LatestDate},
	} {
		issuer := newName
		if former == nil {
			issuer = ""
		}
		if set, err := token.NewIssuerSet(issuer, former); err == nil || set != nil {
			t.Errorf("%s: %v, %v", name, set, err)
		}
	}
}

// A token of an issuer that the view does not know yet makes it catch up, at most once
// per interval. If the view is not current, the answer is that it is unknown.
func TestNewIssuerBeforeTheViewHasIt(t *testing.T) {
	m := newMoved(t)
	m.set(t, oldName, nil)
	catchUps := 0
	m.View.SetCatchUp(func(context.Context) error {
		catchUps++
		m.set(t, newName, map[string]token.UnixTime{oldName: m.until})
		return nil
	})
	check(t, m.Validator, m.by(newName), "")
	check(t, m.Validator, m.by("https://attacker.example"), token.ErrWrongIssuer)
	check(t, m.Validator, m.by("https://attacker.example"), token.ErrWrongIssuer)
	if catchUps != 1 {
		t.Errorf("caught up %d times, want once", catchUps)
	}
	m.Advance(5 * time.Second)
	check(t, m.Validator, m.by("https://attacker.example"), token.ErrWrongIssuer)
	if catchUps != 2 {
		t.Errorf("caught up %d times, want twice", catchUps)
	}
	m.View.SetTrusted(false)
	check(t, m.Validator, m.by("https://attacker.example"), token.ErrUnavailable)
}

// Open connections end when their issuer's time is over, or when it is withdrawn.
func TestWatchOfAFormerIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMoved(t)
		old, current := watch(t, m.Validator, m.by(oldName), 0), watch(t, m.Validator, m.by(newName), 0)
		renewed := watch(t, m.Validator, m.by(oldName), 0)
		m.set(t, newName, map[string]token.UnixTime{oldName: m.until - 300})
		wantEnd(t, old, "")
		m.set(t, newName, nil)
		synctest.Wait()
		wantEnd(t, old, token.ErrWrongIssuer)
		wantEnd(t, renewed, token.ErrWrongIssuer)
		wantEnd(t, current, "")
		m.Validator.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMoved(t)
		old, current := watch(t, m.Validator, m.by(oldName), 0), watch(t, m.Validator, m.by(newName), 0)
		m.SetNow((m.until - 1).Time())
		time.Sleep(time.Second) // the interval of the checks, in the bubble
		synctest.Wait()
		wantEnd(t, old, "")
		m.SetNow(m.until.Time())
		time.Sleep(time.Second)
		synctest.Wait()
		wantEnd(t, old, token.ErrWrongIssuer)
		wantEnd(t, current, "")
		m.Validator.Close()
	})
}

func TestExplainFormerIssuer(t *testing.T) {
	m := newMoved(t)
	x := m.Explain(t.Context(), m.by(oldName))
	i := 0
	for ; x.Findings[i].Rule != "issuer"; i++ {
	}
	if f := x.Findings[i]; f.Outcome != token.Holds || f.Left != 600*time.Second || x.Left() != 600*time.Second {
		t.Errorf("%+v, left %v", f, x.Left())
	}
	m.Advance(600 * time.Second)
	x = m.Explain(t.Context(), m.by(oldName))
	if f := x.Findings[i]; f.Outcome != token.Fails || f.Reason != token.ErrWrongIssuer || x.Verdict != token.ErrWrongIssuer {
		t.Errorf("%+v, verdict %v", f, x.Verdict)
	}
}
