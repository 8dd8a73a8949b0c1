package app_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// request is a request before it is sent.
type request struct {
	method, path, body string
	header             []string // names and values
}

func jsonRequest(method, path, bearer, body string) request {
	q := request{method: method, path: path, body: body}
	if body != "" {
		q.header = append(q.header, "Content-Type", "application/json")
	}
	if bearer != "" {
		q.header = append(q.header, "Authorization", "Bearer "+bearer)
	}
	return q
}

// formRequest is what a browser sends from a page of the console.
func formRequest(path, cookie, body string) request {
	return request{method: http.MethodPost, path: path, body: body, header: []string{
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "document",
		"Cookie", "__Host-curfew_session=" + cookie,
	}}
}

// clientRequest is what a service sends.
func clientRequest(path, id, secret, kind, body string) request {
	return request{method: http.MethodPost, path: path, body: body, header: []string{
		"Content-Type", kind, "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret)),
	}}
}

// answer is an answer to a request.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   string
}

// into reads the body as JSON; the status must be want.
func (a answer) into(want int, v any) {
	a.Helper()
	if a.status != want {
		a.Fatalf("%d %s, want %d", a.status, a.body, want)
	}
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		a.Fatalf("%s: %v", a.body, err)
	}
}

// code returns the answer's code for the mistake.
func (a answer) code() string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal([]byte(a.body), &problem) // pages are none
	return problem.Code
}

var (
	titles    = regexp.MustCompile(`<title>([^<]*)</title>`)
	challenge = regexp.MustCompile(`^\w+|error="\w+"`)
)

// gist is what a caller makes of a refusal: the status, the word or the title of
// the page, the challenge, and the cookie's end.
func (a answer) gist() string {
	text := strconv.Itoa(a.status) + " " + a.code()
	if title := titles.FindStringSubmatch(a.body); title != nil {
		text += " " + title[1]
	}
	return text + " " + strings.Join(challenge.FindAllString(a.header.Get("WWW-Authenticate"), -1), " ") + " " + a.header.Get("Location")
}

// pending is a request under way.
type pending struct {
	*testing.T
	conn   net.Conn
	rest   string        // not sent yet
	last   chan struct{} // closed when the server waits for the last byte of the body
	answer chan answer   // of one value
}

// start sends a request up to the last keep bytes, over a connection of its own.
func (n *node) start(lane int, q request, keep int) *pending {
	n.Helper()
	conn, err := new(net.Dialer).DialContext(n.Context(), "tcp", n.server.Listener.Addr().String())
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = conn.Close() })
	p := &pending{T: n.T, conn: conn, last: make(chan struct{}), answer: make(chan answer, 1)}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: curfew.test\r\nConnection: close\r\n%s: %d\r\n", q.method, q.path, laneHeader, lane)
	for pair := range slices.Chunk(q.header, 2) {
		fmt.Fprintf(&b, "%s: %s\r\n", pair[0], pair[1])
	}
	if keep > 0 && q.body != "" {
		fmt.Fprintf(&b, "%s: 1\r\n", watchHeader)
		n.mu.Lock()
		n.watches[lane] = p.last
		n.mu.Unlock()
	}
	if q.body != "" || q.method != http.MethodDelete {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(q.body))
	}
	text := b.String() + "\r\n" + q.body
	p.rest = text[len(text)-keep:]
	p.write(text[:len(text)-keep])
	go func() { // ends with the answer or the connection
		got, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: q.method})
		if err != nil {
			p.answer <- answer{T: n.T, body: err.Error()}
			return
		}
		body, err := io.ReadAll(got.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		_ = got.Body.Close()
		p.answer <- answer{T: n.T, status: got.StatusCode, header: got.Header, body: string(body)}
	}()
	return p
}

func (p *pending) write(text string) {
	p.Helper()
	if text == "" {
		return
	}
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.Fatal(err)
	}
}

// done returns the answer, once; the status is 0 if none comes.
func (p *pending) done() answer {
	p.Helper()
	select {
	case a := <-p.answer:
		_ = p.conn.Close()
		return a
	case <-time.After(maxWait):
		return answer{T: p.T, body: "no answer"}
	}
}

// send makes a request as it is.
func (n *node) send(q request) answer {
	n.Helper()
	return n.start(0, q, 0).done()
}

// watchedBody says when the last byte of a body is all that its reader waits for.
type watchedBody struct {
	io.ReadCloser
	left int64
	last chan struct{}
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.left == 1 && b.last != nil {
		close(b.last)
		b.last = nil
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
