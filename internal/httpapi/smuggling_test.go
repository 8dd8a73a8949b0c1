package httpapi

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// Request smuggling: a request whose end a proxy in front may see elsewhere than
// this server does. Proxies keep connections, and send other people's requests
// after it; what the server takes for a request of its own there is answered to one
// of those people, or with their credentials.
//
// So a request that two programs may end differently (RFC 9112, section 11.2) is
// the last on its connection, whatever it is answered with: of what follows it,
// hidden, nothing is read. Where the end is beyond doubt, what follows is one more
// request, as it should be.
func TestSmuggling(t *testing.T) {
	s := start(t, func(_ *Config, set *setup) { set.maxQueue = 256 }) // the sign-ins come at once, all for one name
	good := s.token(s.user("ann"))
	auth := "Authorization: Bearer " + good + "\r\n"
	hidden := "GET /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n"
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	// post is a sign-in with the headers and the body given.
	post := func(headers, body string) string {
		return "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers + "\r\n" + body
	}
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n", len(body)) }
	const te, empty = "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"
	within := chunk(hidden) + empty // a body of chunks in which the hidden request is
	tests := []struct {
		name     string
		request  string
		statuses string // of the answers, in order
	}{
		// Beyond doubt.
		{"a length", post("Content-Length: 2\r\n", "{}"+hidden), "401 200"},
		{"chunks, and no more", post(te, chunk("{}")+empty), "401"},
		{"the same length twice", post("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"+hidden), "401 200"},
		{"a header that is another", post("Content-Length: 2\r\nTransfer_Encoding: chunked\r\n", "{}"+hidden), "401 200"},
		{"in the body of a GET", "GET /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + length(hidden) + "\r\n" + hidden, "200"},

		// CL.TE: a server that uses the length takes all of it for one body.
		{"CL.TE", post(length(empty+hidden)+te, empty+hidden), "400"},
		{"CL.TE, the length behind", post(te+length(empty+hidden), empty+hidden), "400"},
		{"chunks, and more", post(te, chunk("{}")+empty+hidden), "401"},
		{"CL.TE in a GET", "GET /v1/session HTTP/1.1\r\nHost: x\r\n" + auth + length(empty+hidden) + te + "\r\n" + empty + hidden, "200"},

		// TE.CL: a server that uses the chunks takes the hidden request for a part
		// of a body.
		{"TE.CL", post("Content-Length: 4\r\n"+te, within), "400"},
		{"TE.CL in HTTP/1.0", strings.Replace(post("Connection: keep-alive\r\nContent-Length: 4\r\n"+te, within), "1.1", "1.0", 1), "400"},
		{"chunks in HTTP/1.0", strings.Replace(post("Connection: keep-alive\r\n"+te, "2\r\n{}\r\n"+empty+hidden), "1.1", "1.0", 1), "400"},
		{"HTTP/1.0, kept alive", strings.Replace(hidden, "1.1\r\n", "1.0\r\nConnection: keep-alive\r\n", 1) + hidden, "200"},
		{"a length of nothing and chunks", post("Content-Length: 0\r\n"+te, within), "400"},

		// TE.TE: one of two does not recognise that there are chunks.
		{"chunked twice", post(te+te, within), "501"},
		{"chunked and identity", post(te+"Transfer-Encoding: identity\r\n", within), "501"},
		{"identity and chunked", post("Transfer-Encoding: identity\r\n"+te, within), "501"},
		{"chunked in a list", post("Transfer-Encoding: gzip, chunked\r\n", within), "501"},
		{"chunked, chunked", post("Transfer-Encoding: chunked, chunked\r\n", within), "501"},
		{"a letter before", post("Transfer-Encoding: xchunked\r\n", within), "501"},
		{"a parameter", post("Transfer-Encoding: chunked;a=b\r\n", within), "501"},
		{"in quotes", post("Transfer-Encoding: \"chunked\"\r\n", within), "501"},
		{"identity", post("Content-Length: 2\r\nTransfer-Encoding: identity\r\n", "{}"+hidden), "501"},
		{"nothing", post("Content-Length: 2\r\nTransfer-Encoding:\r\n", "{}"+hidden), "501"},
		{"a vertical tab", post("Transfer-Encoding:\x0bchunked\r\n", within), "400"},
		{"a tab", post("Content-Length: 4\r\nTransfer-Encoding:\tchunked\r\n", within), "400"},
		{"capitals", post("Content-Length: 4\r\ntransfer-encoding: CHUNKED\r\n", within), "400"},
		{"a space before the colon", post("Content-Length: 4\r\nTransfer-Encoding : chunked\r\n", within), "400"},
		{"a tab before the colon", post("Content-Length: 4\r\nTransfer-Encoding\t: chunked\r\n", within), "400"},
		{"NUL in the name", post("Content-Length: 4\r\nTransfer\x00-Encoding: chunked\r\n", within), "400"},
		{"a folded value", post("Content-Length: 4\r\nTransfer-Encoding:\r\n chunked\r\n", within), "400"},
		{"folded into another header", post("X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "{}"+hidden), "401 200"},
		{"folded into the first line", "POST /v1/sessions HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + hidden, "400"},
		{"behind a bare LF", post("Content-Length: 4\r\nX: y\n"+te, within), "400"},
		{"behind a bare CR", post("Content-Length: 4\r\nX: y\rTransfer-Encoding: chunked\r\n", within), "400"},
		{"after LF CR", post("Content-Length: 4\n\rTransfer-Encoding: chunked\r\n", within), "400"},

		// Lengths.
		{"two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"+hidden), "400"},
		{"two lengths in one", post("Content-Length: 2, 3\r\n", "{}"+hidden), "400"},
		{"a length in a list", post("Content-Length: 2, 2\r\n", "{}"+hidden), "400"},
		{"a length with a sign", post("Content-Length: +2\r\n", "{}"+hidden), "400"},
		{"a negative length", post("Content-Length: -2\r\n", hidden), "400"},
		{"a hexadecimal length", post("Content-Length: 0x2\r\n", "{}"+hidden), "400"},
		{"a length of 2^64+2", post("Content-Length: 18446744073709551618\r\n", "{}"+hidden), "400"},
		{"a length with a space in it", post("Content-Length: 2 3\r\n", "{}"+hidden), "400"},
		{"a length with an underscore", post("Content-Length: 1_0\r\n", "{}"+hidden), "400"},
		{"a length without digits", post("Content-Length: \r\n", "{}"+hidden), "400"},
		{"a length with a space before the colon", post("Content-Length : 2\r\n", "{}"+hidden), "400"},

		// Chunks.
		{"an extension", post(te, "2;a=b\r\n{}\r\n"+empty+hidden), "401"},
		{"an extension with a bare LF", post(te, "2;a\n{}\r\n"+empty+hidden), "400"},
		{"an extension with a bare CR", post(te, "2;a\rb\r\n{}\r\n"+empty+hidden), "400"},
		{"a size behind a bare LF", post(te, "2\n{}\r\n"+empty+hidden), "400"},
		{"a size of 2^64+2", post(te, "10000000000000002\r\n{}\r\n"+empty+hidden), "400"},
		{"a size of 2^63", post(te, "8000000000000000\r\n{}\r\n"+empty+hidden), ""}, // it waits for the rest
		{"a size with a sign", post(te, "+2\r\n{}\r\n"+empty+hidden), "400"},
		{"a size with 0x", post(te, "0x2\r\n{}\r\n"+empty+hidden), "400"},
		{"a size with a space before", post(te, " 2\r\n{}\r\n"+empty+hidden), "400"},
		{"no size", post(te, "\r\n{}\r\n"+empty+hidden), "400"},
		{"a chunk that does not end where it says", post(te, "2\r\n{}x\r\n"+empty+hidden), "400"},
		{"a chunk that ends with LF", post(te, "2\r\n{}\n"+empty+hidden), "400"},
		{"the last chunk ends with LF", post(te, "2\r\n{}\r\n0\n\n"+hidden), "400"},

		// What stands behind the body are not headers.
		{"a token in a trailer", "GET /v1/session HTTP/1.1\r\nHost: x\r\nTrailer: Authorization\r\n" + te + "\r\n0\r\n" + auth + "\r\n", "401"},
		{"a length in a trailer", post(te, "2\r\n{}\r\n0\r\n"+length(hidden)+"\r\n"+hidden), "401"},
		{"chunks in a trailer", post(te, "2\r\n{}\r\n0\r\n"+te+"\r\n"+within), "401"},

		// A body that is announced before it is sent.
		{"expecting to be asked", post("Expect: 100-continue\r\n"+length(hidden), hidden), "100 400"},
		{"expecting, and chunks", post("Expect: 100-continue\r\n"+te, empty+hidden), "100 400"},
		{"an upgrade that is none", post("Connection: Upgrade\r\nUpgrade: websocket\r\n"+length(hidden), hidden), "400"},
		{"a body where none is read", "DELETE /v1/nothing HTTP/1.1\r\nHost: x\r\n" + length(hidden) + "\r\n" + hidden, "404"},
		{"lines that end with LF", strings.ReplaceAll(hidden, "\r\n", "\n"), "200"},
		{"lines that end with CR", strings.ReplaceAll(hidden, "\r\n", "\r"), ""}, // nor has this one an end
	}
	answers := make([][]string, len(tests)) // all at once, since each waits for more
	var all sync.WaitGroup
	for i, tt := range tests {
		all.Go(func() {
			for _, a := range s.raw(tt.request, len(strings.Fields(tt.statuses))) {
				body, _ := io.ReadAll(a.Body)
				answers[i] = append(answers[i], fmt.Sprint(a.StatusCode))
				if strings.Contains(string(body), good) {
					t.Errorf("%s: the answer repeats the token", tt.name)
				}
			}
		})
	}
	all.Wait()
	for i, tt := range tests {
		if got := strings.Join(answers[i], " "); got != tt.statuses {
			t.Errorf("%s: answers %q, want %q", tt.name, got, tt.statuses)
		}
	}
}
