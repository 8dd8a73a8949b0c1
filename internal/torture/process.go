package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Patch replaces a piece of a source file for one build: to plant a bug, or to
// shift a process's clock, without a switch in the shipped code.
type Patch struct {
	File     string // path in the module
	Old, New string
}

// Build builds curfew with patches into dir, and returns the binary. A patch that
// does not find its place is an error: it would test nothing.
func Build(module, dir, name string, patches ...Patch) (string, error) {
	if err := look(module); err != nil {
		return "", err
	}
	overlay := map[string]map[string]string{"Replace": {}}
	texts := map[string]string{}
	for _, p := range patches {
		file := filepath.Join(module, p.File)
		text, ok := texts[file]
		if !ok {
			b, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if strings.Count(text, p.Old) != 1 {
			return "", fmt.Errorf("%s has %d places that read %q, and the patch takes one", p.File, strings.Count(text, p.Old), p.Old)
		}
		texts[file] = strings.Replace(text, p.Old, p.New, 1)
	}
	for file, text := range texts {
		patched := filepath.Join(dir, name+"-"+strings.ReplaceAll(filepath.Base(file), "/", "-"))
		if err := os.WriteFile(patched, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay["Replace"][file] = patched
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listFile := filepath.Join(dir, name+"-overlay.json")
	if err := os.WriteFile(listFile, list, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-overlay", listFile, "-o", binary, "./cmd/curfew")
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

// look reads the directories of the sources. As long as nothing has changed that a
// test has read, `go test` repeats what came out of it the last time; and what a
// build reads it does not see.
func look(module string) error {
	for _, dir := range []string{"cmd", "internal", "revocation", "settings", "token"} {
		err := filepath.WalkDir(filepath.Join(module, dir), func(string, fs.DirEntry, error) error { return nil })
		if err != nil {
			return err
		}
	}
	_, err := os.ReadFile(filepath.Join(module, "go.mod"))
	return err
}

// Process is a curfew process that can be killed and started again.
type Process struct {
	Name, Addr string
	binary     string
	args, env  []string
	dir        string

	mu  sync.Mutex
	cmd *exec.Cmd
	log *bytes.Buffer
}

// Start starts the process.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.binary, p.args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	if p.log == nil {
		p.log = new(bytes.Buffer)
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	return nil
}

// Pause freezes the process: it answers nothing, and no time passes for it.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("%s does not run", p.Name)
	}
	return p.cmd.Process.Signal(sig)
}

// Kill ends the process without a warning.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Stop asks the process to end, and waits.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

func (p *Process) end(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended
	_ = p.cmd.Wait()
	p.cmd = nil
}

// Log returns the end of the process's output. Only when it has ended.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.log.String()
	return text[max(0, len(text)-4000):]
}
