package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// All commands of the README do what it says, in order and in an empty directory.
func TestREADME(t *testing.T) {
	walkDocument(t, "README.md", readme(t))
}

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The README leads to every topic of the documentation and to nothing that does not
// exist. Its program is the one that the documentation builds and runs.
func TestREADMELinks(t *testing.T) {
	source := readme(t)
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(source, -1) {
		if _, err := os.Stat(filepath.Join("../..", link[1])); err != nil && !strings.Contains(link[1], "://") {
			t.Errorf("the README links to %s: %v", link[1], err)
		}
	}
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range m.Topics() {
		if !strings.Contains(source, "(cmd/curfew/docs/"+topic.Name+".md") {
			t.Errorf("the README does not link to %s", topic.Name)
		}
	}
	applications, _ := m.Topic("applications")
	programs := map[string]bool{}
	for _, text := range []string{source, applications.Text} {
		for _, b := range blocksOf(text) {
			if b.kind == "go" && strings.HasPrefix(b.text, "package main\n") {
				programs[b.text] = true
			}
		}
	}
	if len(programs) != 1 {
		t.Errorf("the README and applications.md show %d different programs, want the same one", len(programs))
	}
}
