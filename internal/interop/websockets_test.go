//go:build interop

package interop

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/curfew/internal/curfewtest"
	"example.com/curfew/internal/testnet"
)

// A WebSocket service on Node that follows the change feed closes the sockets of a
// session when it ends, and no others; and the receipt waits for it.
func TestWebSocketsOnNode(t *testing.T) {
	s := start(t)
	var client struct{ ID, Secret string }
	if err := json.Unmarshal(s.curfew("client", "add", "sockets", "--can", "follow", "--json"), &client); err != nil {
		t.Fatal(err)
	}
	front := testnet.Address(t)
	file := s.config("websockets.mjs", front, "")
	if err := os.Symlink(filepath.Join(curfewtest.Module(), ".cache/npm/interop/node_modules"), filepath.Join(s.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(find(t, "node"), file)
	cmd.Env = append(os.Environ(), "CURFEW_URL=http://"+s.addr, "CURFEW_CLIENT="+client.ID, "CURFEW_SECRET="+client.Secret)
	spawn(t, cmd)
	waitFor(t, "the service", func() bool { return status(t, "http://"+front+"/", "") == http.StatusUpgradeRequired })

	s.curfew("user", "add", "ben", "--generate-password")
	admin, again := s.signIn(), s.signIn()
	first, second := dial(t, front, admin), dial(t, front, again)
	for _, raw := range []string{"", "a.b.c", s.expired(), s.forged()} {
		if code, _ := upgrade(t, front, raw); code != http.StatusUnauthorized {
			t.Errorf("a socket with a bad token: %d, want 401", code)
		}
	}
	// A session that signs out ends its own socket; then the user's others end.
	s.signOut(admin)
	first.wantClose("revoked")
	second.wantEcho()
	if code, _ := upgrade(t, front, admin); code != http.StatusUnauthorized {
		t.Errorf("a socket after the sign-out: %d, want 401", code)
	}
	s.curfew("revoke", "user", "ben", "--reason", "another user")
	second.wantEcho()
	s.curfew("revoke", "user", userName, "--reason", "interop")
	second.wantClose("revoked")
	third := dial(t, front, s.signIn())
	s.curfew("key", "retire", s.key.ID(), "--yes", "--reason", "interop")
	third.wantClose("unknown_key")
}

// webSocket is the client's end (RFC 6455), as far as the test needs it.
type webSocket struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func upgrade(t *testing.T, address, raw string) (status int, ws *webSocket) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(name, value)
	}
	if raw != "" {
		r.Header.Set("Authorization", "Bearer "+raw)
	}
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, r)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, &webSocket{t: t, conn: conn, in: in}
}

func dial(t *testing.T, address, raw string) *webSocket {
	t.Helper()
	// Tokens may be newer than what the service has heard of their key.
	var ws *webSocket
	waitFor(t, "the socket", func() bool {
		var code int
		code, ws = upgrade(t, address, raw)
		return code == http.StatusSwitchingProtocols
	})
	ws.wantEcho()
	return ws
}

// frame returns the next frame's opcode and payload; those of the test are short.
func (w *webSocket) frame() (opcode byte, payload string) {
	w.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		w.t.Fatalf("reading a frame: %v", err)
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(w.in, body); err != nil {
		w.t.Fatalf("reading a frame: %v", err)
	}
	return head[0] & 0x0f, string(body)
}

func (w *webSocket) wantEcho() {
	w.t.Helper()
	// One text frame, masked with zeros.
	if _, err := w.conn.Write(append([]byte{0x81, 0x80 | 2, 0, 0, 0, 0}, "hi"...)); err != nil {
		w.t.Fatal(err)
	}
	if opcode, payload := w.frame(); payload != "hi" {
		w.t.Fatalf("got the frame %x %q, want the echo", opcode, payload)
	}
}

func (w *webSocket) wantClose(reason string) {
	w.t.Helper()
	opcode, payload := w.frame()
	if opcode != 8 || len(payload) < 2 || !strings.HasSuffix(payload, reason) || payload[:2] != "\x03\xf0" { // 1008
		w.t.Errorf("got the frame %x %q, want a close with 1008 and %q", opcode, payload, reason)
	}
}
