package floors

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unplain matches the words and phrases that prose here does without: each has
// a plain word in its place, such as user, caller, client or attacker.
var unplain = regexp.MustCompile(`(?i)\b(?:who(?:m|so)?ever|(?:no|some|any|every)body|strangers?|one\s+that|what\s+is)\b`)

// maxUnplain is how many of them there may be in a thousand words of comments.
const maxUnplain = 0.3

// prose lists the kinds of files, other than Go, that are read as a whole: by
// extension, or by name where a file has none.
var prose = []string{".md", ".yaml", ".yml", ".html", ".tmpl", ".txt", ".sh", ".sql", ".js", ".css", ".py", ".mod", "Makefile"}

// notComment matches the lines of a script that are no comments.
var notComment = regexp.MustCompile(`(?m)^[^#\n].*$`)

// isProse reports whether a file, named from the root of the repository, is read
// as a whole. Scripts of .ci have no extension.
func isProse(name string) bool {
	return slices.Contains(prose, path.Ext(name)) || slices.Contains(prose, path.Base(name)) || strings.HasPrefix(name, ".ci/")
}

// A voice counts the words of comments, and names where unplain matches in
// comments, string literals and prose.
type voice struct {
	words int
	found []string // "file:line: word"
}

// rate returns how often unplain matched in a thousand words of comments.
func (v *voice) rate() float64 { return 1000 * float64(len(v.found)) / float64(max(v.words, 1)) }

// read adds a file, named from the root of the repository.
func (v *voice) read(name string, text []byte) error {
	if path.Ext(name) == ".go" {
		return v.readGo(name, text)
	}
	switch {
	case path.Ext(name) == ".txt": // a script of testscript: the comments
		v.find(name, 1, notComment.ReplaceAllString(string(text), ""))
	case isProse(name):
		v.find(name, 1, string(text))
	}
	return nil
}

// readGo adds the comments of a Go file, and the string literals of one that is
// shipped: those of tests include the names and inputs of attackers. Words of
// literals are not counted, since most are no prose.
func (v *voice) readGo(name string, text []byte) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("count the words of %s: %w", name, err)
	}
	for _, group := range file.Comments {
		v.words += len(strings.Fields(group.Text()))
		v.find(name, files.Position(group.Pos()).Line, comment(group))
	}
	if strings.HasSuffix(name, "_test.go") {
		return nil
	}
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, is := node.(*ast.BasicLit); is && literal.Kind == token.STRING {
			if value, err := strconv.Unquote(literal.Value); err == nil {
				v.find(name, files.Position(literal.Pos()).Line, value)
			}
		}
		return true
	})
	return nil
}

// comment returns a group's text with its line breaks, so that lines can be
// counted, and without the marks, so that a phrase is found across lines.
func comment(group *ast.CommentGroup) string {
	var lines []string
	for _, c := range group.List {
		lines = append(lines, strings.TrimPrefix(c.Text, "//"))
	}
	return strings.Join(lines, "\n")
}

// find adds the matches in a text that begins at a line of a file.
func (v *voice) find(name string, line int, text string) {
	for _, at := range unplain.FindAllStringIndex(text, -1) {
		words := strings.Join(strings.Fields(text[at[0]:at[1]]), " ")
		v.found = append(v.found, fmt.Sprintf("%s:%d: %s", name, line+strings.Count(text[:at[0]], "\n"), words))
	}
}
