package session_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Each step of a sequence is a few transactions on a disk: fewer and shorter
// sequences than usual, unless the command line says otherwise.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "12", "rapid.steps": "20"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	flag.Parse()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}
