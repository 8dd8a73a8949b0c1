// Package drive sends HTTP/1.1 requests over connections that stay open, with as
// little work of its own as it can: the measurement is of the server. It
// understands only answers with a Content-Length, or without a body.
package drive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection. It is not safe for concurrent use.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// Dial connects to a TCP address.
func Dial(address string) (*Conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// New wraps a connection.
func New(c net.Conn) *Conn { return &Conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)} }

// Request returns the bytes of a request without a body. headers are lines
// without their ends.
func Request(method, path, host string, headers ...string) []byte {
	return RequestBody(method, path, host, nil, headers...)
}

// RequestBody returns the bytes of a request with a body.
func RequestBody(method, path, host string, body []byte, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, h := range headers {
		fmt.Fprintf(&b, "%s\r\n", h)
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Do sends one request and reads its answer: the status, and the body, which is
// nil unless keep.
func (c *Conn) Do(request []byte, keep bool) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	return c.Answer(keep)
}

var (
	contentLength = []byte("Content-Length: ")
	chunked       = []byte("Transfer-Encoding: chunked")
)

// Answer reads one answer.
func (c *Conn) Answer(keep bool) (status int, body []byte, err error) {
	line, err := c.line()
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, nil, fmt.Errorf("not an answer: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("not a status: %q", line)
	}
	length, chunks := 0, false
	for {
		if line, err = c.line(); err != nil {
			return 0, nil, err
		}
		if len(line) == 0 {
			break
		}
		if rest, found := bytes.CutPrefix(line, contentLength); found {
			if length, err = strconv.Atoi(string(rest)); err != nil {
				return 0, nil, fmt.Errorf("not a length: %q", line)
			}
		}
		chunks = chunks || bytes.Equal(line, chunked)
	}
	if chunks {
		body, err = c.chunks()
		return status, body, err
	}
	if !keep {
		_, err = c.in.Discard(length)
		return status, nil, err
	}
	body = make([]byte, length)
	_, err = io.ReadFull(c.in, body)
	return status, body, err
}

// line returns the next line without its end; it is valid until the next read.
func (c *Conn) line() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func (c *Conn) chunks() (body []byte, err error) {
	for {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return nil, fmt.Errorf("not the size of a chunk: %q", line)
		}
		start := len(body)
		body = append(body, make([]byte, size)...)
		if _, err := io.ReadFull(c.in, body[start:]); err != nil {
			return nil, err
		}
		if _, err := c.line(); err != nil {
			return nil, err
		}
		if size == 0 {
			return body, nil
		}
	}
}

// Throughput sends requests over connections connections for d, depth of them at
// a time on each (1: the next goes out when the answer is there), and returns the
// answers a second. Every answer must have the status wanted.
func Throughput(address string, requests [][]byte, connections, depth int, d time.Duration, want int) (perSecond float64, err error) {
	var group sync.WaitGroup
	var done atomic.Int64
	errs := make([]error, connections)
	conns := make([]*Conn, connections)
	for i := range conns {
		if conns[i], err = Dial(address); err != nil {
			return 0, err
		}
		defer conns[i].Close()
	}
	began := time.Now()
	end := began.Add(d)
	for i, c := range conns {
		group.Go(func() { errs[i] = c.keepSending(requests, i*len(requests)/connections, depth, end, want, &done) })
	}
	group.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}

func (c *Conn) keepSending(requests [][]byte, at, depth int, end time.Time, want int, done *atomic.Int64) error {
	var batch []byte
	for time.Now().Before(end) {
		batch = batch[:0]
		for range depth {
			batch = append(batch, requests[at%len(requests)]...)
			at++
		}
		if _, err := c.Write(batch); err != nil {
			return err
		}
		for range depth {
			status, _, err := c.Answer(false)
			if err != nil {
				return err
			}
			if status != want {
				return fmt.Errorf("answered with %d, want %d", status, want)
			}
		}
		done.Add(int64(depth))
	}
	return nil
}
