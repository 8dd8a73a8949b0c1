// Package containers tries the Containerfile, the compose file and the manifests for
// Kubernetes: it builds the image, and runs its root as the other files say. It is a
// module of its own, so that the libraries that read these files do not become
// requirements of Curfew's.
package containers

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/patternmatcher"

	"example.com/curfew/internal/await"
)

const (
	checkout      = "../../.."
	packaging     = checkout + "/cmd/curfew/packaging"
	containerfile = packaging + "/container/Containerfile"
	testVersion   = "1.2.3-test"
)

// image is the image that the Containerfile describes.
type image struct {
	root   string // its root, on this machine
	config imageConfig
}

// imageConfig is the configuration of an image in Docker's format.
type imageConfig struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	Volumes      map[string]struct{}
	ExposedPorts map[string]struct{}
	StopSignal   string
	Labels       map[string]string
	Healthcheck  struct {
		Test                           []string
		Interval, Timeout, StartPeriod time.Duration
	}
}

// built is the image, and the directory to remove.
var built struct {
	sync.Mutex
	image *image
	err   error
	dir   string
}

// theImage builds the image, once, with Buildah.
func theImage(t *testing.T) image {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.image == nil && built.err == nil {
		built.image, built.err = build(t)
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return *built.image
}

// build runs the Containerfile. This machine's /usr and what Go has downloaded and
// compiled already stand for the image of Go, which no registry of images is asked for.
func build(t *testing.T) (*image, error) {
	var err error
	if built.dir, err = os.MkdirTemp("", "curfew-image-"); err != nil {
		return nil, err
	}
	buildah := func(args ...string) (string, error) {
		var out, problems bytes.Buffer
		cmd := exec.Command("buildah", append([]string{
			"--root", built.dir + "/storage", "--runroot", built.dir + "/run", "--storage-driver", "vfs",
		}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, &problems
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("buildah %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), problems.String())
		}
		return strings.TrimSpace(out.String()), nil
	}
	base, volumes, err := goImage(built.dir + "/go")
	if err != nil {
		return nil, err
	}
	if _, err := buildah("bud", "--isolation", "chroot", "-t", "go", base); err != nil {
		return nil, err
	}
	args := []string{"bud", "--isolation", "chroot", "--format", "docker", "--build-arg", "GO_IMAGE=localhost/go", "--build-arg", "VERSION=" + testVersion}
	for _, dir := range volumes {
		args = append(args, "--volume", dir)
	}
	if _, err := buildah(append(args, "-f", containerfile, "-t", "curfew", checkout)...); err != nil {
		return nil, err
	}
	made := &image{}
	text, err := buildah("inspect", "--type", "image", "curfew")
	if err != nil {
		return nil, err
	}
	var inspected struct{ Docker struct{ Config imageConfig } }
	if err := json.Unmarshal([]byte(text), &inspected); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	made.config = inspected.Docker.Config
	if _, err := buildah("from", "--name", "curfew", "curfew"); err != nil {
		return nil, err
	}
	made.root, err = buildah("mount", "curfew")
	return made, err
}

// goImage makes the directory that stands for the image of Go, and returns what has to
// be mounted there.
func goImage(dir string) (context string, volumes []string, err error) {
	env := map[string]string{}
	out, err := exec.Command("go", "env", "-json", "GOROOT", "GOMODCACHE", "GOCACHE", "GOPROXY").Output()
	if err == nil {
		err = json.Unmarshal(out, &env)
	}
	if err != nil {
		return "", nil, err
	}
	for _, name := range []string{"etc/ssl/certs", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "", nil, err
		}
	}
	const authorities = "/etc/ssl/certs/ca-certificates.crt"
	data, err := os.ReadFile(authorities)
	if err == nil {
		err = os.WriteFile(dir+authorities, data, 0o644)
	}
	for _, name := range []string{"bin", "lib", "lib64"} {
		if err == nil {
			err = os.Symlink("usr/"+name, filepath.Join(dir, name))
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "Containerfile"), []byte("FROM scratch\nCOPY . /\nENV PATH="+env["GOROOT"]+
			"/bin:/usr/bin GOTOOLCHAIN=local GOMODCACHE="+env["GOMODCACHE"]+" GOCACHE="+env["GOCACHE"]+" GOPROXY="+env["GOPROXY"]+"\n"), 0o644)
	}
	volumes = []string{"/usr:/usr:ro"}
	for _, name := range []string{"GOROOT", "GOMODCACHE", "GOCACHE"} {
		if !strings.HasPrefix(env[name], "/usr/") {
			volumes = append(volumes, env[name]+":"+env[name])
		}
	}
	return dir, volumes, err
}

// container returns a container of the image.
func (i image) container(t *testing.T, uid, gid int) *container {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root") // the points where its runtime mounts are made there
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", i.root, root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return &container{
		Root: root, UID: uid, GID: gid, Groups: []int{gid}, Dir: i.config.WorkingDir, Env: i.config.Env,
		Args: append(slices.Clone(i.config.Entrypoint), i.config.Cmd...),
	}
}

// healthcheck is the command of the image's health check.
func (i image) healthcheck() []string { return i.config.Healthcheck.Test[1:] }

// The Containerfile compiles as a release is compiled, with the same Go. Nothing secret
// goes into the build, and nothing from outside the source.
func TestContainerfile(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	text := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(read(containerfile), "")
	compile := regexp.MustCompile(`go build (.*version=\$)`)
	release := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(read(checkout+"/.ci/dist"), "")
	if here, there := compile.FindStringSubmatch(text), compile.FindStringSubmatch(strings.ReplaceAll(release, "$version", "$VERSION")); here == nil || !slices.Equal(here, there) {
		t.Errorf("compiled with %q, a release with %q", here, there)
	}
	version := regexp.MustCompile(`(?m)^toolchain go(.*)$`).FindStringSubmatch(read(checkout + "/go.mod"))[1]
	if !strings.Contains(text, "ARG GO_IMAGE=docker.io/library/golang:"+version+"\n") {
		t.Errorf("the image of Go is not that of %s", version)
	}
	var patterns []string
	for line := range strings.Lines(read(checkout + "/.dockerignore")) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	for name, want := range map[string]bool{
		"cmd/curfew/main.go": false, "go.mod": false, "internal/store/sqlstore/migrations/00001_begin.sql": false, "LICENSE": false,
		"cmd/curfew/packaging/compose/secrets/database_url": true, "cmd/curfew/packaging/compose/.env": true,
		"curfew.db": true, "curfew.db.key": true, "cmd/curfew/curfew.db.key": true, ".git/config": true, "curfew.db.admin-password": true,
		"cmd/curfew/curfew.admin-password": true, "dist/curfew": true,
	} {
		ignored, err := patternmatcher.MatchesOrParentMatches(name, patterns)
		if err != nil {
			t.Fatal(err)
		}
		if ignored != want {
			t.Errorf("%s stays out of the build: %t", name, ignored)
		}
	}
}

// The image has the program, which needs nothing else, and says how to run it.
func TestImage(t *testing.T) {
	i := theImage(t)
	var files []string
	err := filepath.WalkDir(i.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && (path == i.root+"/data" || !d.IsDir()) {
			files = append(files, fmt.Sprintf("%s %s %d:%d", strings.TrimPrefix(path, i.root), info.Mode(), stat.Uid, stat.Gid))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/LICENSE -rw-r--r-- 0:0", "/curfew -rwxr-xr-x 0:0", "/data drwxrwx--- 65532:0",
		"/etc/ssl/certs/ca-certificates.crt -rw-r--r-- 0:0",
	}
	if !slices.Equal(files, want) {
		t.Errorf("the image has %q, want %q", files, want)
	}
	program, err := elf.Open(i.root + "/curfew")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is linked dynamically; the image has no libraries")
		}
	}
	c := i.config
	for what, holds := range map[string]bool{
		"user":         c.User == "65532:65532",
		"entrypoint":   slices.Equal(c.Entrypoint, []string{"/curfew"}) && slices.Equal(c.Cmd, []string{"serve"}),
		"stop signal":  c.StopSignal == "SIGTERM",
		"volume":       len(c.Volumes) == 1 && c.WorkingDir == "/data",
		"version":      c.Labels["org.opencontainers.image.version"] == testVersion,
		"port":         len(c.ExposedPorts) == 1,
		"health check": slices.Equal(c.Healthcheck.Test, []string{"CMD", "/curfew", "healthcheck"}),
		// The command must say why it fails, rather than be ended by the runtime.
		"timeout of the health check": c.Healthcheck.Timeout > 5*time.Second,
		// A start waits for the database by default that long.
		"start period": c.Healthcheck.StartPeriod >= time.Minute,
		// The delay at shutdown is automatic if /readyz was asked for within 30 s.
		"interval of the health check": c.Healthcheck.Interval <= 15*time.Second,
	} {
		if !holds {
			t.Errorf("%s: the configuration is %+v", what, c)
		}
	}
	if _, ok := c.ExposedPorts["8420/tcp"]; !ok {
		t.Errorf("exposed are %v", c.ExposedPorts)
	}
}

// The image runs with a read-only root and without capabilities, as its own user, as
// any user in group 0, and on a volume that is its group's alone. Only /data is
// written. It is healthy, serves at the port that it exposes, and at SIGTERM, as
// process 1, becomes not ready, goes on serving, and ends with exit code 0. The second
// start finds what the first has left.
func TestImageRuns(t *testing.T) {
	t.Parallel()
	i := theImage(t)
	for name, test := range map[string]struct {
		uid, gid int
		owner    [2]int
		mode     fs.FileMode
		fsGroup  int // 0: none
	}{
		"own user":               {uid: 65532, gid: 65532, owner: [2]int{65532, 0}, mode: 0o770},
		"any user in group 0":    {uid: 1000700000, gid: 0, owner: [2]int{65532, 0}, mode: 0o770},
		"volume with an fsGroup": {uid: 65532, gid: 65532, owner: [2]int{0, 2000}, mode: fs.ModeSetgid | 0o770, fsGroup: 2000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(data, 0o700); err != nil {
				t.Fatal(err)
			}
			prepare := func() {
				err := os.Chown(data, test.owner[0], test.owner[1])
				if err == nil {
					err = os.Chmod(data, test.mode)
				}
				if err == nil && test.fsGroup != 0 {
					err = giveToGroup(data, test.fsGroup)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, start := range []string{"first", "second"} {
				prepare()
				c := i.container(t, test.uid, test.gid)
				if test.fsGroup != 0 {
					c.Groups = append(c.Groups, test.fsGroup)
				}
				c.Mounts = []mount{{From: data, To: "/data"}}
				c.start(t)
				c.untilHealthy(t, i.healthcheck()...)
				if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/file", c.cmd.Process.Pid), nil, 0o600); err == nil {
					t.Error("the root is not read-only")
				}
				if code, out := c.exec(t, "/curfew", "token", "issue", "admin"); code != 0 {
					t.Errorf("the command line: exit code %d: %s", code, out)
				}
				if got := c.warned(t, "may open it"); got != (start == "second" && test.fsGroup != 0) {
					t.Errorf("%s start: a warning about the group: %t", start, got)
				}
				c.checkDrain(t, i.healthcheck())
			}
			for _, name := range []string{"curfew.db", "curfew.db.key", "curfew.db.admin-password"} {
				if _, err := os.Stat(filepath.Join(data, name)); err != nil {
					t.Error(err)
				}
			}
			if _, err := os.Stat(filepath.Join(data, "curfew.db.admin-password.2")); err == nil {
				t.Error("the second start made another account")
			}
		})
	}
}

// giveToGroup does what Kubernetes does with a volume before a container with fsGroup
// starts.
func giveToGroup(dir string, group int) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, group); err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o660
		if d.IsDir() {
			mode |= fs.ModeSetgid | 0o110
		}
		return os.Chmod(path, mode)
	})
}

// checkDrain stops a container, and sees that it goes on serving while it is not ready
// any more.
func (c *container) checkDrain(t *testing.T, healthcheck []string) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the container says that it drains", func() bool { return c.warned(t, "not ready any more") })
	if code, out := c.exec(t, healthcheck...); code != 1 || !strings.Contains(out, "503") {
		t.Errorf("after SIGTERM the health check ends with exit code %d: %s", code, out)
	}
	if code, out := c.exec(t, append(slices.Clone(healthcheck), "--live")...); code != 0 {
		t.Errorf("after SIGTERM it serves no more: exit code %d: %s", code, out)
	}
	<-c.done
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with exit code %d", code)
	}
	if !c.warned(t, "shut down") {
		t.Error("it did not say that it has shut down")
	}
}
