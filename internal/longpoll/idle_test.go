package longpoll

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"example.com/curfew/internal/await"
)

// A deadline that is over before the first write, as on a machine that is busy,
// keeps no answer from a client that reads.
func TestParkedAnswerWithoutTime(t *testing.T) {
	g := newParkServer(t, (*httptest.Server).Start)
	conn, in := g.dial()
	for i := range 3 {
		fmt.Fprintf(conn, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		p := <-g.parked
		p.Answer(-time.Second, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "ok")
		})
		p.Release()
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok" {
			t.Fatalf("%q, %v", body, err)
		}
	}
}

// A connection that was parked may be idle for longer than a new one may take for
// its headers; once the next request has begun, its headers are to come in time.
func TestResumedConnectionIsIdle(t *testing.T) {
	const headers = time.Second // enough for a handshake on a busy machine
	for name, begin := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "encrypted": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newParkServer(t, func(s *httptest.Server) { s.Config.ReadHeaderTimeout = headers; begin(s) })
			go g.answerAll()
			defer close(g.parked)
			conn, in := g.dial()
			if name == "encrypted" {
				conn = g.encrypt(conn)
				in = bufio.NewReader(conn)
			}
			poll := func(request string) error {
				fmt.Fprint(conn, request)
				resp, err := http.ReadResponse(in, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				return err
			}
			const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
			if err := poll(request); err != nil {
				t.Fatal(err)
			}
			time.Sleep(headers * 6 / 5) // the time for headers goes by: no event ends it
			if err := poll(request); err != nil {
				t.Fatalf("after an idle time: %v", err)
			}
			// A request that does not come to an end closes the connection.
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHos")
			if _, err := io.ReadAll(in); err != nil {
				t.Errorf("the connection is not closed: %v", err)
			}
		})
	}
}

// An idle time has an end.
func TestResumedConnectionIsClosed(t *testing.T) {
	g := newParkServer(t, func(s *httptest.Server) { s.Config.ReadHeaderTimeout = 10 * time.Millisecond; s.Start() })
	g.parking.config.Idle = 50 * time.Millisecond
	go g.answerAll()
	defer close(g.parked)
	conn, in := g.dial()
	_ = conn.SetDeadline(time.Now().Add(await.Limit))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
}
