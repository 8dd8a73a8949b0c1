//go:build goexperiment.jsonv2

package strictjson_test

import (
	"bytes"
	"encoding/json/jsontext"
	"io"
	"testing"

	"example.com/curfew/internal/strictjson"
)

// FuzzAgainstJSONText compares the reader with encoding/json/jsontext, whose rules it
// has: RFC 7493 without its advice on numbers. Run it with GOEXPERIMENT=jsonv2.
func FuzzAgainstJSONText(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		err := strictjson.Options{}.Object(data, nil)
		if want := jsontextAccepts(data); (err == nil) != want {
			t.Errorf("%q: %v, jsontext accepts it: %v", data, err, want)
		}
	})
}

// jsontextAccepts reports whether data is exactly one object, by the default rules of
// jsontext: no duplicate names, no invalid UTF-8. Our bound on the depth is checked
// beside it.
func jsontextAccepts(data []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if d.PeekKind() != '{' {
		return false
	}
	for {
		if _, err := d.ReadToken(); err != nil {
			return false
		}
		if d.StackDepth() > strictjson.MaxDepth {
			return false
		}
		if d.StackDepth() == 0 {
			_, err := d.ReadToken()
			return err == io.EOF
		}
	}
}
