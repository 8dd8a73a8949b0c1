//go:build torture

package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"
)

// attempt is the answer to a sign-in.
type attempt struct {
	status int
	body   string
	header http.Header
	took   time.Duration
}

// signInFrom signs in by way of a proxy that says where from.
func signInFrom(client *http.Client, at *Process, address, name, password string) (attempt, error) {
	return signInWith(client, at, address, name, password, "")
}

// signInWith is signInFrom with the token of an earlier session; "" for none.
func signInWith(client *http.Client, at *Process, address, name, password, earlier string) (attempt, error) {
	body, err := json.Marshal(map[string]string{"username": name, "password": password})
	if err != nil {
		return attempt{}, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+at.Addr+"/v1/sessions", bytes.NewReader(body))
	if err != nil {
		return attempt{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", address)
	if earlier != "" {
		req.Header.Set("Authorization", "Bearer "+earlier)
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return attempt{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return attempt{resp.StatusCode, string(text), resp.Header, time.Since(began)}, err
}

// behindProxy returns a node that believes X-Forwarded-For, with accounts that
// have passwords.
func behindProxy(t *testing.T, env []string, accounts int, flags ...string) (c *Cluster, node *Process, ids []string) {
	t.Helper()
	c = newCluster(t, must[string](t)(asShipped()), "")
	node = c.node(t, env, append([]string{"--trusted-proxies", "127.0.0.1/32"}, flags...)...)
	for i := range accounts {
		var made struct{ ID string }
		status, body, err := c.call(http.MethodPost, node.Addr, "/v1/users", c.admin, map[string]string{"name": accountName(i), "password": adminPassword})
		if err != nil || status != http.StatusCreated || json.Unmarshal(body, &made) != nil {
			t.Fatalf("%d %s %v", status, body, err)
		}
		ids = append(ids, made.ID)
	}
	return c, node, ids
}

func accountName(i int) string { return fmt.Sprintf("account%02d", i) }

// Whether an account exists shows neither in the status of a refused sign-in, nor
// in its text, its headers or the time that it took: 300 tries, interleaved.
func TestNoEnumeration(t *testing.T) {
	const accounts, tries = 20, 150 // of each kind; an account may fail 10 times a minute
	c, node, _ := behindProxy(t, nil, accounts)
	var took [2][]time.Duration
	var first attempt
	kinds := make([]int, 0, 2*tries)
	for i := range 2 * tries {
		kinds = append(kinds, i%2)
	}
	rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	for i, kind := range kinds {
		name := accountName(len(took[kind]) % accounts)
		if kind == 1 {
			name = fmt.Sprintf("nobody%03d", len(took[kind])%accounts)
		}
		got, err := signInFrom(c.http, node, fmt.Sprintf("198.51.%d.%d", i/200, i%200+1), name, "not the password")
		if err != nil {
			t.Fatal(err)
		}
		took[kind] = append(took[kind], got.took)
		for _, own := range []string{"Date", "X-Request-Id"} { // each answer has its own
			got.header.Del(own)
		}
		if i == 0 {
			first = got
		}
		if got.status != http.StatusUnauthorized || got.body != first.body || fmt.Sprint(got.header) != fmt.Sprint(first.header) {
			t.Fatalf("an account that %s: %d %s %v, and another try got %d %s %v",
				[]string{"exists", "does not"}[kind], got.status, got.body, got.header, first.status, first.body, first.header)
		}
	}
	z := mannWhitney(took[0], took[1])
	t.Logf("median %v for accounts that exist, %v for others; z = %.2f", median(took[0]), median(took[1]), z)
	// By chance it is beyond 5 once in 1.7 million times.
	if math.Abs(z) > 5 {
		t.Errorf("the time tells whether an account exists: z = %.2f", z)
	}
}

func p100(d []time.Duration) time.Duration { return slices.Max(d) }

func p99(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)*99/100]
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
