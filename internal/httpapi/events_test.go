package httpapi

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/curfew/revocation"
	"example.com/curfew/token"
)

// openStream opens an event stream, and returns the lines that come.
func (s *server) openStream(with ...credential) (lines <-chan string, response *http.Response) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/session/events", http.NoBody)
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range with {
		c.put(r)
	}
	// Not through the client that compares answers with openapi.yaml: it reads the
	// first line alone.
	client := &http.Client{Transport: &http.Transport{}}
	s.Cleanup(client.CloseIdleConnections)
	response, err = client.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { response.Body.Close() })
	out := make(chan string, 100)
	go func() { // ends with the stream
		defer close(out)
		for scanner := bufio.NewScanner(response.Body); scanner.Scan(); {
			if line := scanner.Text(); line != "" {
				out <- line
			}
		}
	}()
	return out, response
}

// next returns the next line that is neither a comment nor the retry field.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return "end"
			}
			if !strings.HasPrefix(line, ":") && !strings.HasPrefix(line, "retry:") {
				return line
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the stream says nothing")
		}
	}
}

// watching waits until the stream says that it watches.
func watching(t *testing.T, lines <-chan string) {
	t.Helper()
	for line := range lines {
		if line == ": watching" {
			return
		}
	}
	t.Fatal("the stream ended at once")
}

func wantLast(t *testing.T, lines <-chan string, event, data string) {
	t.Helper()
	for _, want := range []string{"event: " + event, "data: " + data, "end"} {
		if got := next(t, lines); got != want {
			t.Fatalf("the stream says %q, want %q", got, want)
		}
	}
}

func TestEventStreamEndsWithTheSession(t *testing.T) {
	s := start(t, onPostgres(t))
	ann, ben := s.user("ann"), s.user("ben")
	admin := bearerToken(s.token(s.admin))
	raw := s.token(ann)
	byToken, response := s.openStream(bearerToken(raw))
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	byCookie, _ := s.openStream(cookie(raw))
	others, _ := s.openStream(bearerToken(s.token(ben)))
	for _, lines := range []<-chan string{byToken, byCookie, others} {
		watching(t, lines)
	}
	s.do("POST", path("/v1/users/%s/revocations", ann.ID), `{"reason":"lost laptop"}`, admin).must(http.StatusCreated, nil)
	wantLast(t, byToken, "ended", `{"code":"revoked"}`)
	wantLast(t, byCookie, "ended", `{"code":"revoked"}`)
	if _, response := s.openStream(bearerToken(raw)); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("opened again with the revoked token: %d, want 401", response.StatusCode)
	}
	select {
	case line, ok := <-others:
		if !ok || !strings.HasPrefix(line, ":") {
			t.Errorf("another user's stream says %q", line)
		}
	default:
	}
	s.do("POST", "/v1/revocations", `{"scope":"everyone","reason":"drill"}`, admin).must(http.StatusCreated, nil)
	wantLast(t, others, "ended", `{"code":"revoked"}`)
}

// The stream rests on its token: it extends nothing, and says when the token ends.
func TestEventStreamEndsByTime(t *testing.T) {
	s := start(t)
	ann := s.user("ann")
	lines, _ := s.openStream(bearerToken(s.mint(ann, func(sess *token.Session) { sess.ExpiresAt = token.UnixTime(time.Now().Unix() + 2) })))
	wantLast(t, lines, "ended", `{"code":"expired"}`)
}

func TestEventStreamWhenTheServerCannotTell(t *testing.T) {
	s := start(t)
	lines, _ := s.openStream(bearerToken(s.token(s.user("ann"))))
	watching(t, lines)
	s.validator.Close() // as a server does that shuts down
	wantLast(t, lines, "unavailable", `{"code":"unavailable"}`)
}

func TestEventStreamHeartbeat(t *testing.T) {
	s := start(t, func(c *Config, _ *setup) { c.Lease = func() time.Duration { return time.Millisecond } })
	lines, _ := s.openStream(bearerToken(s.token(s.user("ann"))))
	for beats := 0; beats < 3; {
		if line := <-lines; line == ": heartbeat" {
			beats++
		} else if line == "" {
			t.Fatal("the stream ended")
		}
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	var open streams
	for range maxStreams {
		if !open.enter("ann") {
			t.Fatal("refused too early")
		}
	}
	if open.enter("ann") || !open.enter("ben") {
		t.Error("the bound is not each user's own")
	}
	open.leave("ann")
	if !open.enter("ann") {
		t.Error("a stream that has ended leaves no room")
	}

	s := start(t)
	ann := s.user("ann")
	raw := s.token(ann)
	var first <-chan string
	for i := range maxStreams {
		lines, _ := s.openStream(bearerToken(raw))
		watching(t, lines)
		if i == 0 {
			first = lines
		}
	}
	if _, response := s.openStream(bearerToken(raw)); response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one stream too many: %d, want 429", response.StatusCode)
	}
	s.node.Applied(revocation.Revocation{Scope: revocation.User(ann.ID), Epoch: s.node.Epoch() + 1<<40})
	wantLast(t, first, "ended", `{"code":"revoked"}`)
}

func TestLastEvent(t *testing.T) {
	for _, test := range []struct {
		cause error
		want  string
	}{
		{token.ErrRevoked, "event: ended\ndata: {\"code\":\"revoked\"}\n\n"},
		{token.ErrMaximumDuration, "event: ended\ndata: {\"code\":\"maximum_duration\"}\n\n"},
		{token.ErrUnknownKey, "event: ended\ndata: {\"code\":\"unknown_key\"}\n\n"},
		{token.ErrUnavailable, "event: unavailable\ndata: {\"code\":\"unavailable\"}\n\n"},
		{errors.New("anything else"), "event: unavailable\ndata: {\"code\":\"unavailable\"}\n\n"},
		{context.Canceled, ""},
	} {
		if got := lastEvent(test.cause); got != test.want {
			t.Errorf("lastEvent(%v) = %q, want %q", test.cause, got, test.want)
		}
	}
}
