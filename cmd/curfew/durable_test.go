package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A revocation that was answered with 201 is on disk. strace sees it: the sync of
// the write-ahead log returns before the first byte of the answer is sent.
func TestRevocationIsOnDiskBeforeItIsAnswered(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test looks over the server's shoulder with strace: .ci/install test installs it (%v)", err)
	}
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	p := startServer(t, &serverProcess{dir: dir, wrap: []string{
		// -D: strace is the server's grandchild, so that signals go to the server.
		strace, "-D", "-f", "-y", "-s", "120", "-o", trace,
		"-e", "trace=read,write,pwrite64,fsync,fdatasync", "--",
	}})
	token := p.curfew(t, "token", "issue", "admin")
	got := p.ask(t, "POST", "/v1/users/me/revocations", token, `{"reason":"durable"}`)
	if got.status != 201 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if err := syncedBeforeAnswer(string(data)); err != nil {
		t.Error(err)
	}
}

var (
	errNoRequest = errors.New("the trace has no request")
	errNoWrite   = errors.New("nothing was written to the log between request and answer")
	errNoSync    = errors.New("the log had not been synced when the answer was sent")
	errNoAnswer  = errors.New("the trace has no answer")
)

var (
	traceRequest = regexp.MustCompile(`"POST /v1/users/me/revocations `)
	traceAnswer  = regexp.MustCompile(`write\(\d+<[^>]*>, "HTTP/1\.1 201 `)
	traceWrite   = regexp.MustCompile(`p?write(64)?\(\d+<[^>]*-wal>`)
	traceSync    = regexp.MustCompile(`^(\d+) +f(data)?sync\(\d+<[^>]*-wal>(.*)$`)
	traceResumed = regexp.MustCompile(`^(\d+) +<\.\.\. f(data)?sync resumed>.*= 0`)
)

// syncedBeforeAnswer reads the output of strace: after the request, the log was
// written, and whatever was written had been synced when the answer began.
func syncedBeforeAnswer(trace string) error {
	const (
		waiting = iota
		asked   // the request is in
		dirty   // the log has been written, and not been synced
		clean   // it has been synced since it was written
	)
	state := waiting
	syncing := map[string]bool{} // threads in a sync that began after the last write
	for line := range strings.SplitSeq(trace, "\n") {
		if state == waiting {
			if traceRequest.MatchString(line) {
				state = asked
			}
			continue
		}
		switch {
		case traceAnswer.MatchString(line):
			switch state {
			case clean:
				return nil
			case dirty:
				return fmt.Errorf("%w: %s", errNoSync, line)
			}
			return errNoWrite
		case traceWrite.MatchString(line):
			state = dirty
			clear(syncing)
		case traceSync.MatchString(line):
			m := traceSync.FindStringSubmatch(line)
			if strings.Contains(m[3], "unfinished") {
				syncing[m[1]] = true
			} else if strings.HasSuffix(strings.TrimSpace(m[3]), "= 0") && state == dirty {
				state = clean
			}
		case traceResumed.MatchString(line):
			if m := traceResumed.FindStringSubmatch(line); syncing[m[1]] && state == dirty {
				state = clean
			}
		}
	}
	if state == waiting {
		return errNoRequest
	}
	return errNoAnswer
}

// The reading of a trace tells the right order from the wrong ones.
func TestSyncedBeforeAnswer(t *testing.T) {
	const (
		request = `7 read(9<socket:[1]>, "POST /v1/users/me/revocations HTT"..., 4096) = 300` + "\n"
		answer  = `7 write(9<socket:[1]>, "HTTP/1.1 201 Created\r\nCache"..., 500) = 500` + "\n"
		write   = `8 pwrite64(5</t/curfew.db-wal>, "x"..., 4120, 32) = 4120` + "\n"
		sync    = `8 fdatasync(5</t/curfew.db-wal>) = 0` + "\n"
		begun   = `8 fsync(5</t/curfew.db-wal> <unfinished ...>` + "\n"
		ended   = `8 <... fsync resumed>)           = 0` + "\n"
		failed  = `8 fsync(5</t/curfew.db-wal>) = -1 EIO (Input/output error)` + "\n"
		other   = `8 fsync(6</t/curfew.db>) = 0` + "\n"
	)
	tests := []struct {
		name  string
		trace string
		want  error
	}{
		{"in order", request + write + sync + answer, nil},
		{"sync seen in two parts", request + write + begun + ended + answer, nil},
		{"several writes", request + write + write + sync + answer, nil},
		{"answer first", request + write + answer + sync, errNoSync},
		{"answer while syncing", request + write + begun + answer + ended, errNoSync},
		{"write after the sync", request + write + sync + write + answer, errNoSync},
		{"write during the sync", request + write + begun + write + ended + answer, errNoSync},
		{"another file synced", request + write + other + answer, errNoSync},
		{"sync failed", request + write + failed + answer, errNoSync},
		{"sync before the request", write + sync + request + answer, errNoWrite},
		{"nothing asked", write + sync + answer, errNoRequest},
		{"nothing answered", request + write + sync, errNoAnswer},
	}
	for _, test := range tests {
		if err := syncedBeforeAnswer(test.trace); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}
