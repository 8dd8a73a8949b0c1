package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"example.com/curfew/internal/await"
	"example.com/curfew/internal/testnet"
)

// The commands of the README's first section do what it says, in order and in an
// empty directory.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(data), "\n## Start\n")
	section, _, more := strings.Cut(section, "\n## ")
	if !ok || !more {
		t.Fatal("the README has no section Start")
	}
	var script strings.Builder
	// make run compiles the checkout; here it runs what was compiled for this test.
	script.WriteString("set -u\nmake() { [ \"$1\" = build ] || exec curfew serve --listen \"$ADDRESS\" --metrics-listen ''; }\n")
	blocks := 0
	for {
		_, rest, found := strings.Cut(section, "\n```sh\n")
		if !found {
			break
		}
		block, after, _ := strings.Cut(rest, "\n```")
		script.WriteString(block + "\n")
		section, blocks = after, blocks+1
	}
	if blocks < 2 {
		t.Fatalf("the section has %d blocks of commands, want 2 or more", blocks)
	}
	address := testnet.Address(t)
	ctx, cancel := context.WithTimeout(t.Context(), await.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", strings.ReplaceAll(script.String(), "127.0.0.1:8420", address))
	// In files: the server that the script leaves behind would hold pipes open.
	files := map[string]*os.File{}
	for _, name := range []string{"out", "errors"} {
		if files[name], err = os.Create(filepath.Join(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
		defer files[name].Close()
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), files["out"], files["errors"]
	cmd.Env = append(curfewEnvironment(func(string) string { return "" }), "ADDRESS="+address, "PATH="+filepath.Dir(program(t))+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Run()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the server
	said := map[string]string{}
	for name, file := range files {
		data, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		said[name] = string(data)
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, said["out"], said["errors"])
	}
	if complaint := regexp.MustCompile(`(?m)^(curfew: |bash: |jq: ).*`).FindString(said["errors"]); complaint != "" {
		t.Errorf("a command fails: %s\n%s", complaint, said["out"])
	}
	// What the section promises of its last two answers.
	receipt := strings.Index(said["out"], `"effective_everywhere":true`)
	revoked := strings.LastIndex(said["out"], `"code":"revoked"`)
	if receipt < 0 || revoked < receipt {
		t.Errorf("no receipt that says effective everywhere, and then a refusal of the revoked token:\n%s\n%s", said["out"], said["errors"])
	}
}
