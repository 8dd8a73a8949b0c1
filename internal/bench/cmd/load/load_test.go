package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"example.com/curfew/internal/wire"
)

func TestTargetsStayOnThisMachine(t *testing.T) {
	for target, ok := range map[string]bool{
		"http://127.0.0.1:8420": true, "http://[::1]:8420": true, "https://localhost": true, "http://127.9.9.9": true,
		"http://192.0.2.1:8420": false, "http://0.0.0.0:8420": false, "http://[2001:db8::1]": false,
		"ftp://127.0.0.1": false, "127.0.0.1:8420": false, "http://": false, "": false,
	} {
		if err := checkTarget(target, false); (err == nil) != ok {
			t.Errorf("%q: %v", target, err)
		}
	}
	if err := checkTarget("http://192.0.2.1:8420", true); err != nil {
		t.Errorf("when it is allowed: %v", err)
	}
}

func TestMix(t *testing.T) {
	m, err := parseMix("validate=7, revoke=2,refresh=1")
	if err != nil {
		t.Fatal(err)
	}
	var drawn [kinds]int
	for n := range m.total() {
		drawn[m.draw(n)]++
	}
	if drawn != [kinds]int{validate: 7, refresh: 1, revoke: 2} {
		t.Errorf("drawn %v", drawn)
	}
	for _, bad := range []string{"", "validate", "validate=x", "validate=-1", "dance=1", "validate=0", "validate=1,,"} {
		if _, err := parseMix(bad); err == nil || !strings.Contains(err.Error(), "-mix") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-target", "http://127.0.0.1:1/", "-target", "http://127.0.0.1:2"}, io.Discard)
	if err != nil || strings.Join(o.targets, " ") != "http://127.0.0.1:1 http://127.0.0.1:2" {
		t.Errorf("%v %v", o.targets, err)
	}
	for _, bad := range [][]string{{"-duration", "0s"}, {"-requests", "0"}, {"-users", "0"}, {"-workers", "3", "-users", "2"}} {
		if _, err := parseOptions(bad, io.Discard); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

// fake is a node that keeps its sessions in a map, and may lie.
type fake struct {
	mu       sync.Mutex
	users    map[string]string // id: name
	disabled map[string]bool
	live     map[string]string // token: user's name
	n        int
	lie      bool // a revocation ends nothing
	calls    map[string]int
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	name, signedIn := f.live[token]
	call := r.Method + " " + r.URL.Path
	if rest, found := strings.CutPrefix(call, "PATCH /v1/users/"); found {
		call, f.disabled[rest] = "PATCH", true
	}
	f.calls[call]++
	if !signedIn && call != "POST /v1/sessions" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	write := func(status int, v any) {
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(v); err != nil {
			panic(err)
		}
	}
	issue := func(name string) wire.Issued {
		f.n++
		fresh := fmt.Sprintf("t%d", f.n)
		f.live[fresh] = name
		return wire.Issued{Token: fresh}
	}
	switch call {
	case "POST /v1/sessions":
		var in wire.SignIn
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			panic(err)
		}
		write(http.StatusCreated, issue(in.Username))
	case "POST /v1/users":
		var in wire.UserChange
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			panic(err)
		}
		id := fmt.Sprintf("u%d", len(f.users))
		f.users[id] = *in.Name
		write(http.StatusCreated, wire.User{ID: id, Name: *in.Name})
	case "PATCH", "GET /v1/verify":
		w.WriteHeader(http.StatusOK)
	case "POST /v1/session/refresh":
		write(http.StatusOK, issue(name))
	case "POST /v1/users/me/revocations":
		for t, n := range f.live {
			if n == name && !f.lie {
				delete(f.live, t)
			}
		}
		write(http.StatusCreated, wire.Receipt{Enforcement: wire.Enforcement{EffectiveEverywhere: true}})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func runAgainst(t *testing.T, lie bool) (f *fake, failed bool, out string) {
	t.Helper()
	f = &fake{users: map[string]string{}, disabled: map[string]bool{}, live: map[string]string{}, calls: map[string]int{}, lie: lie}
	s := httptest.NewServer(f)
	defer s.Close()
	var b strings.Builder
	failed, err := run(context.Background(), []string{"-target", s.URL, "-requests", "400", "-workers", "3", "-users", "5", "-progress", "0",
		"-mix", "validate=5,refresh=2,signin=2,revoke=1"}, "secret", &b, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return f, failed, b.String()
}

func TestRun(t *testing.T) {
	f, failed, out := runAgainst(t, false)
	if failed || !strings.Contains(out, "validate") {
		t.Errorf("failed %v, out\n%s", failed, out)
	}
	if len(f.users) != 5 || len(f.disabled) != 5 {
		t.Errorf("%d users made, %d disabled at the end; want 5", len(f.users), len(f.disabled))
	}
	for _, call := range []string{"GET /v1/verify", "POST /v1/session/refresh", "POST /v1/users/me/revocations"} {
		if f.calls[call] == 0 {
			t.Errorf("%s was never called: %v", call, f.calls)
		}
	}
}

func TestRunFindsANodeThatLies(t *testing.T) {
	_, failed, out := runAgainst(t, true)
	if !failed || !strings.Contains(out, "revoked everywhere") {
		t.Errorf("failed %v, out\n%s", failed, out)
	}
}

func TestReportIsJSON(t *testing.T) {
	var b strings.Builder
	tr := &traffic{options: options{json: true}}
	tr.times[validate].Add(1000)
	if err := tr.report(&b, 1e9); err != nil {
		t.Fatal(err)
	}
	var got struct{ Results []result }
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || len(got.Results) != kinds || got.Results[0].P99US != 1 {
		t.Errorf("%v: %s", err, b.String())
	}
}
