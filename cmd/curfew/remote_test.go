package main

import (
	"os/exec"
	"strings"
	"testing"
)

// A server with a certificate of an authority of its own is reached with
// --server-ca, and with nothing less.
func TestServerCA(t *testing.T) {
	certificate, key, _ := writeCertificate(t, t.TempDir())
	p := startServer(t, &serverProcess{
		args: []string{"--tls-cert", certificate, "--tls-key", key}, env: []string{"CURFEW_ADMIN_PASSWORD=correct horse battery staple"},
	})
	server := p.banner()["URL"]
	login := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program(t), append([]string{"login", "admin", "--server", server}, args...)...)
		cmd.Env = append(curfewEnvironment(func(string) string { return "" }), "CURFEW_CREDENTIALS="+t.TempDir()+"/credentials.json")
		cmd.Stdin = strings.NewReader("correct horse battery staple\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := login(); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("without the authority: %v\n%s", err, out)
	}
	other, _, _ := writeCertificate(t, t.TempDir())
	if out, err := login("--server-ca", other); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("with another authority: %v\n%s", err, out)
	}
	if out, err := login("--server-ca", certificate); err != nil || !strings.Contains(out, "signed in to "+server) {
		t.Errorf("with the authority: %v\n%s", err, out)
	}
}
