package httpapi

import (
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Handlers start nothing that outlives their requests, and a server that has ended
// leaves nothing behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.CloseIdleConnections() // of the tests' own clients
	}
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}
