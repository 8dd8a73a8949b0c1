package upstream

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/curfew/internal/replica"
	"example.com/curfew/revocation"
)

// A snapshot file contains an answer of the feed to after=0, between a title line
// and a line with a checksum. The checksum is keyed with the client's secret, so a
// file from which an attacker has removed a revocation is refused.
const snapshotTitle = "curfew follower snapshot 1\n"

// snapshotEvery is the interval of writing the file, if the state has changed.
const snapshotEvery = 5 * time.Minute

const maxSnapshot = 4 << 30

var errSnapshot = errors.New("not a snapshot of this client")

// loadSnapshot loads the file if possible. A missing or damaged file only costs a
// transfer.
func (f *Follower) loadSnapshot() {
	a, err := readSnapshot(f.config.SnapshotFile, f.snapshotKey())
	if err == nil && a.Installation != nil {
		err = f.checkInstallation(a.Installation)
	}
	if err == nil {
		err = f.replica.Load(a.Changes)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		f.log.Warn("snapshot file not used; reading everything from the server", "file", f.config.SnapshotFile, "error", err)
	}
}

// keepSnapshot writes the file periodically.
func (f *Follower) keepSnapshot(ctx context.Context) {
	var saved revocation.Epoch
	for pause(ctx, snapshotEvery) {
		if e := f.Epoch(); e != saved {
			if err := f.saveSnapshot(); err == nil {
				saved = e
			}
		}
	}
}

func (f *Follower) saveSnapshot() error {
	err := f.writeSnapshot()
	if err != nil {
		err = fmt.Errorf("follower: writing the snapshot file: %w", err)
		f.log.Warn("snapshot file not written; the next start reads everything from the server", "file", f.config.SnapshotFile, "error", err)
	}
	f.event(Event{Kind: EventSavedFile, Err: err})
	return err
}

func (f *Follower) snapshotKey() []byte {
	mac := hmac.New(sha256.New, []byte(f.config.ClientSecret))
	mac.Write([]byte("curfew follower snapshot\x00" + f.config.ClientID))
	return mac.Sum(nil)
}

func readSnapshot(name string, key []byte) (*answer, error) {
	file, err := os.Open(name) // the configured file
	if err != nil {
		return nil, err
	}
	defer file.Close() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSnapshot {
		return nil, fmt.Errorf("%w: not a regular file, or too large", errSnapshot)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	const sumLength = 2*sha256.Size + 1 // in hexadecimal, with a line feed
	body, ok := bytes.CutPrefix(data, []byte(snapshotTitle))
	if !ok || len(body) < sumLength {
		return nil, fmt.Errorf("%w: it has no snapshot header or trailer", errSnapshot)
	}
	body, sum := body[:len(body)-sumLength], body[len(body)-sumLength:]
	if !hmac.Equal(sum, checksum(key, body)) {
		return nil, fmt.Errorf("%w: wrong checksum: the file was changed, truncated, or written with another secret", errSnapshot)
	}
	return decode(body)
}

func checksum(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return append(hex.AppendEncode(nil, mac.Sum(nil)), '\n')
}

// writeSnapshot writes a temporary file and renames it, so that the file is always
// complete.
func (f *Follower) writeSnapshot() (err error) {
	state := f.replica.Current()
	if state.Epoch == 0 || state.Settings == nil {
		return nil // not complete since it started over
	}
	dir := filepath.Dir(f.config.SnapshotFile)
	file, err := os.CreateTemp(dir, filepath.Base(f.config.SnapshotFile)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	if _, err = file.WriteString(snapshotTitle); err != nil {
		return err
	}
	mac := hmac.New(sha256.New, f.snapshotKey())
	if err = writeAnswer(io.MultiWriter(file, mac), &state, f.now()); err != nil {
		return err
	}
	if _, err = file.Write(append(hex.AppendEncode(nil, mac.Sum(nil)), '\n')); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), f.config.SnapshotFile)
}

// writeAnswer writes the state as an answer of the feed.
func writeAnswer(w io.Writer, s *replica.State, now time.Time) error {
	head := fmt.Appendf(nil, `{"epoch":%d,"more":false,"held_ms":0,"lease_ms":0,"now":%q`, s.Epoch, now.UTC().Format(time.RFC3339Nano))
	if _, err := w.Write(s.AppendJSON(head, 0)); err != nil {
		return err
	}
	between := ""
	for p := range s.Log.Pages() {
		if _, err := io.WriteString(w, between); err != nil {
			return err
		}
		if _, err := w.Write(p.Encode().JSON); err != nil {
			return err
		}
		between = ","
	}
	_, err := io.WriteString(w, "]}\n")
	return err
}
