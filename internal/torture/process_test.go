package torture

import (
	"path/filepath"
	"strings"
	"testing"
)

// module is the directory of the checkout.
var module = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// A patch that does not fit is an error, not a build without it.
func TestPatchMustFit(t *testing.T) {
	_, err := Build(module, t.TempDir(), "curfew", Patch{"token/validator.go", "no such text", ""})
	if err == nil || !strings.Contains(err.Error(), "0 places") {
		t.Errorf("got %v", err)
	}
}
