package main

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

// healthcheck runs the command and returns what it printed and its exit code.
func healthcheck(t *testing.T, args ...string) (printed string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), append([]string{"healthcheck"}, args...)...)
	cmd.Env = curfewEnvironment(func(string) string { return "" })
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// A server with a certificate that no authority knows is healthy, at every address
// that reaches it; one that presents another certificate is not.
func TestHealthcheckWithTLS(t *testing.T) {
	certificate, key, _ := writeCertificate(t, t.TempDir())
	p := startServer(t, &serverProcess{args: []string{"--tls-cert", certificate, "--tls-key", key}})
	address := p.banner()["ADDRESS"]
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	other, _, _ := writeCertificate(t, t.TempDir())
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"its address":         {[]string{"--listen", address, "--tls-cert", certificate}, 0, "ready"},
		"every address":       {[]string{"--listen", ":" + port, "--tls-cert", certificate}, 0, "ready"},
		"0.0.0.0":             {[]string{"--listen", "0.0.0.0:" + port, "--tls-cert", certificate}, 0, "ready"},
		"another certificate": {[]string{"--listen", address, "--tls-cert", other}, exitFailed, "another certificate"},
		"without TLS":         {[]string{"--listen", address}, exitFailed, "400"},
		"no such file":        {[]string{"--listen", address, "--tls-cert", "none.pem"}, exitUsage, "--tls-cert"},
	} {
		t.Run(name, func(t *testing.T) {
			if printed, code := healthcheck(t, test.args...); code != test.code || !strings.Contains(printed, test.want) || strings.Contains(printed, `\n`) {
				t.Errorf("exit code %d, want %d, with %q:\n%s", code, test.code, test.want, printed)
			}
		})
	}
}
