package inbound_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/inbound"
)

// Clients that announce bodies and do not send them keep no other clients out: the
// oldest are given up, whether the handler reads the body or not, and with every
// framing.
func TestBodiesThatNeverCome(t *testing.T) {
	const most, clients = 4, 20
	for _, tt := range []struct{ name, begin, rest string }{
		{"a length", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", "123456789"},
		{"no byte at all", "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", "1234567890"},
		{"chunks", "POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", "345\r\n0\r\n\r\n"},
		{"a handler that reads nothing", "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", "123456789"},
		{"chunks that no handler reads", "POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", "345\r\n0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err != nil {
					http.Error(w, "the body could not be read", http.StatusBadRequest)
				}
			})
			mux.HandleFunc("/unread", func(http.ResponseWriter, *http.Request) {})
			bodies := inbound.NewBodies(most, most)
			server := httptest.NewServer(inbound.Wrap(inbound.Config{Bodies: bodies}, mux))
			t.Cleanup(server.Close)
			var conns []net.Conn
			for i := range clients {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				_ = conn.SetDeadline(time.Now().Add(await.Limit))
				if _, err := io.WriteString(conn, tt.begin); err != nil {
					t.Fatal(err)
				}
				conns = append(conns, conn)
				await.Until(t, "the request waits for its body, or was given up", func() bool { pending, givenUp := bodies.Counts(); return pending+givenUp == int64(i+1) })
			}
			if pending, givenUp := bodies.Counts(); pending != most || givenUp != clients-most {
				t.Errorf("%d wait for their bodies and %d were given up, want %d and %d", pending, givenUp, most, clients-most)
			}
			// An honest client, who is the newest, is answered.
			answer, err := http.Post(server.URL+"/read", "text/plain", strings.NewReader("1234567890"))
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("an honest client: %v, %v", answer, err)
			}
			answer.Body.Close()
			// The first ones are over: the connection ends after the answer.
			if _, err := io.Copy(io.Discard, conns[0]); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the first connection is still open: %v", err)
			}
			// The last can still send the rest, and is answered.
			last := conns[clients-1]
			if _, err := io.WriteString(last, tt.rest); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(last), nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("the last client: %v, %v", resp, err)
			}
			for _, conn := range conns {
				_ = conn.Close()
			}
			await.Until(t, "no request waits for its body", func() bool { pending, _ := bodies.Counts(); return pending == 0 })
		})
	}
}
