package curfewtest

import (
	"strings"
	"testing"
)

// A patch that does not fit is an error, not a build without it.
func TestPatchMustFit(t *testing.T) {
	_, err := Build(Module(), t.TempDir(), "curfew", Patch{File: "token/validator.go", Old: "no such text", New: ""})
	if err == nil || !strings.Contains(err.Error(), "0 places") {
		t.Errorf("got %v", err)
	}
}
