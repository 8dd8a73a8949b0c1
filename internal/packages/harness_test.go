//go:build packages

package packages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"example.com/curfew/internal/curfewtest"
)

// The two releases that are built, one time each.
const (
	oldVersion = "1.0.0"
	newVersion = "1.1.0-rc.1"
)

var (
	releases string // a directory for each version
	// key is where the packages make the key-encryption key.
	key = "/etc/curfew/key-encryption-key"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "curfew-packages-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	releases = dir
	for _, version := range []string{oldVersion, newVersion} {
		if err := dist(curfewtest.Module(), version, filepath.Join(dir, version)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// dist builds a release of a checkout for this machine's processor.
func dist(checkout, version, to string, env ...string) error {
	cmd := exec.Command(filepath.Join(checkout, ".ci/dist"), version, to, "linux/"+runtime.GOARCH)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
	return nil
}

// released returns the one file of a version that matches a pattern.
func released(t *testing.T, version, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(releases, version, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files match %s, %v", len(found), pattern, err)
	}
	return found[0]
}

// unpack returns the directory of an unpacked archive.
func unpack(t *testing.T, version string) string {
	t.Helper()
	archive := released(t, version, "*.tar.gz")
	dir := t.TempDir()
	output(t, "tar", "-xzf", archive, "-C", dir)
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(archive), ".tar.gz"))
}

// output returns what a program prints, which has to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, complaint, err := try(exec.CommandContext(t.Context(), name, args...))
	if err != nil {
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, out, complaint)
	}
	return out
}

// asRoot is output for a program that root has to run.
func asRoot(t *testing.T, name string, args ...string) string {
	t.Helper()
	words := rootCommand(name, args...)
	return output(t, words[0], words[1:]...)
}

// rootCommand returns a command that root runs.
func rootCommand(name string, args ...string) []string {
	words := append([]string{name}, args...)
	if os.Geteuid() != 0 {
		words = append([]string{"sudo", "-n"}, words...)
	}
	return words
}

func try(cmd *exec.Cmd) (out, complaint string, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// Debian keeps the programs of administrators out of a user's PATH.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// freshRoot returns the directory of a Debian system that was just made.
func freshRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "curfew-root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		words := rootCommand("rm", "-rf", "--one-file-system", dir)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Errorf("remove %s: %v\n%s", dir, err, out)
		}
	})
	asRoot(t, "tar", "-xpf", filepath.Join(curfewtest.Module(), ".cache/debian.tar"), "-C", dir)
	return dir
}
