package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/curfew/internal/await"
)

// container is a container as its runtime starts it: namespaces of its own, a
// read-only root without capabilities, and mounts. It has a network of its own, so it
// listens at the ports that it listens at everywhere.
type container struct {
	Root   string
	UID    int
	GID    int
	Groups []int // besides GID
	Dir    string
	Env    []string
	Args   []string
	Mounts []mount
	Within int // process of the container in which a command runs; 0: a new container

	database string // address of its PostgreSQL, outside

	log  string // file of what it prints
	cmd  *exec.Cmd
	done chan error
}

// mount makes a file or directory visible in a container.
type mount struct {
	From, To string
	ReadOnly bool
}

// runtimeVariable makes this program the first process of a container: see [begin].
const runtimeVariable = "CURFEW_TEST_CONTAINER"

func TestMain(m *testing.M) {
	if text := os.Getenv(runtimeVariable); text != "" {
		fmt.Fprintln(os.Stderr, "start the container:", begin(text))
		os.Exit(125)
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// begin turns this process into the program of a container, which has new namespaces,
// or into a command in a container that runs. It returns only an error.
func begin(text string) error {
	runtime.LockOSThread() // prctl is for a thread
	var c container
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if c.Within != 0 {
		c.Root = fmt.Sprintf("/proc/%d/root", c.Within) // with everything that is mounted there
		if err := enterNetwork(c.Within); err != nil {
			return err
		}
	} else if err := errors.Join(c.mountAll(), interfaceUp("lo")); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(c.Root), unix.Chdir(c.Dir)); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	unix.Umask(0o022)
	for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	if err := errors.Join(unix.Setgroups(c.Groups), unix.Setresgid(c.GID, c.GID, c.GID), unix.Setresuid(c.UID, c.UID, c.UID)); err != nil {
		return fmt.Errorf("become user %d: %w", c.UID, err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// Until its runtime has connected the network.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return unix.Exec(c.Args[0], c.Args, c.Env)
}

func (c *container) mountAll() error {
	proc := filepath.Join(c.Root, "proc")
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(c.Root, c.Root, "", unix.MS_BIND, ""), os.MkdirAll(proc, 0o755)); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	for _, m := range c.Mounts {
		to := filepath.Join(c.Root, m.To)
		info, err := os.Stat(m.From)
		if err == nil {
			if info.IsDir() {
				err = os.MkdirAll(to, 0o755)
			} else {
				err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, nil, 0o444))
			}
		}
		if err == nil {
			err = unix.Mount(m.From, to, "", unix.MS_BIND, "")
		}
		if err == nil && m.ReadOnly {
			err = unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.To, err)
		}
	}
	if err := errors.Join(unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		unix.Mount("", c.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	return nil
}

// interfaceUp brings a network interface up.
func interfaceUp(name string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// start starts the program of a container. It ends with the test.
func (c *container) start(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("namespaces and file systems of containers: run these tests as root")
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.log = log.Name()
	c.cmd = exec.CommandContext(t.Context(), "/proc/self/exe")
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = []string{runtimeVariable + "=" + string(text)}, log, log
	connected, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	// Pdeathsig is about the thread that starts the process: it must live as long.
	started := make(chan error)
	c.done = make(chan error, 1)
	go func() { // ends with the container
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.done <- c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if c.database != "" {
		c.forwardDatabase(t)
	}
	if err := connected.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		if t.Failed() {
			t.Logf("the container printed:\n%s", c.printed(t))
		}
	})
}

func (c *container) printed(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(c.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// exec runs a command in a container that runs, as its runtime does.
func (c *container) exec(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	command := *c
	command.Args, command.Within = args, c.cmd.Process.Pid
	text, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{runtimeVariable + "=" + string(text)}
	data, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(data)
}

// enterNetwork moves this thread into the network of a process.
func enterNetwork(process int) error {
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", process))
	if err != nil {
		return err
	}
	defer network.Close()
	return unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
}

// untilHealthy waits until the health check succeeds.
func (c *container) untilHealthy(t *testing.T, check ...string) {
	t.Helper()
	await.Until(t, "the container is healthy", func() bool {
		select {
		case err := <-c.done:
			t.Fatalf("the container ended: %v\n%s", err, c.printed(t))
		default:
		}
		code, _ := c.exec(t, check...)
		return code == 0
	})
}

// stop ends the container as its runtime does, and returns the exit code.
func (c *container) stop(t *testing.T) int {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-c.done
	return c.cmd.ProcessState.ExitCode()
}

// warned reports whether the container logged a line with all the texts.
func (c *container) warned(t *testing.T, texts ...string) bool {
	t.Helper()
	for line := range strings.Lines(c.printed(t)) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}
