package floors

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVoiceIsPlain(t *testing.T) {
	root := root(t)
	var v voice
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := strings.HasPrefix(name, ".") && name != "." && name != ".ci"
			if hidden || slices.Contains([]string{"bin", "node_modules", "fuzz"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		own := strings.HasPrefix(name, filepath.Join("internal", "floors", "voice"))
		if own || !entry.Type().IsRegular() || filepath.Ext(name) != ".go" && !isProse(filepath.ToSlash(name)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return v.read(filepath.ToSlash(name), text)
	})
	if err != nil {
		t.Fatal(err)
	}
	if v.words < 10_000 {
		t.Fatalf("%d words of comments: the comments were not found", v.words)
	}
	t.Logf("%d in %d words of comments: %.2f in a thousand\n%s", len(v.found), v.words, v.rate(), strings.Join(v.found, "\n"))
	if v.rate() > maxUnplain {
		t.Errorf("more than %.2f in a thousand words of comments: say user, caller, client, attacker, or name the thing", maxUnplain)
	}
}

func TestVoiceFinds(t *testing.T) {
	const source = `package p

// Keys are for whoever signs; the one
// that is active signs.
var Text = "Nobody reads" + ` + "`a\nstranger`" + ` // somebodyish
`
	var v voice
	for name, text := range map[string]string{"p/p.go": source, "docs/a.md": "plain\nWhat is  this", ".ci/run": "# anybody", "p/data.bin": "nobody",
		"p/p_test.go": `package p; var name = "nobody" // anybody`, "a.txt": "revoke nobody\n# a stranger"} {
		if err := v.read(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(v.found)
	want := []string{
		".ci/run:1: anybody", "a.txt:2: stranger", "docs/a.md:2: What is",
		"p/p.go:3: one that", "p/p.go:3: whoever", "p/p.go:5: Nobody", "p/p.go:6: stranger",
		"p/p_test.go:1: anybody",
	}
	if !slices.Equal(v.found, want) || v.words != 13 {
		t.Errorf("found %q in %d words, want %q in 13", v.found, v.words, want)
	}
	if err := v.read("p/broken.go", []byte("packag")); err == nil {
		t.Error("a file that does not parse is not reported")
	}
}
