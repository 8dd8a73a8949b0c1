// Package manual is the documentation: Markdown files as pages below /docs, and as
// text for the command line. Every server and every edge has it, so it needs no
// network and is always that of the running version. Edges serve its own pages; the
// console shows the same texts in its frame.
package manual

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// indexFile lists all topics. Their order there is that of [Manual.Topics].
const indexFile = "index.md"

// A Topic is one page of the documentation.
type Topic struct {
	Name  string // in addresses and on the command line: lower case, with dashes
	Title string // the heading of the page
	Text  string // the whole page, in Markdown

	content func() (content, error)
	page    func() (page, error)
}

// content is a rendered text: its first heading, and the rest.
type content struct{ heading, rest string }

// HTML returns the text of the topic without its first heading, which says the title.
// Its links are relative to the address of the topic: /docs for the index, /docs/NAME
// for the others.
func (t Topic) HTML() (template.HTML, error) {
	c, err := t.content()
	return template.HTML(c.rest), err // #nosec G203 -- rendered without raw HTML
}

// Manual is the documentation. [New] makes one. Its methods are safe for concurrent
// use.
type Manual struct {
	index  Topic
	topics []Topic
}

// New reads the documentation from the Markdown files in the root of files. A page
// that index.md does not list, and a link to a page that does not exist, are errors.
func New(files fs.FS) (*Manual, error) {
	m := &Manual{}
	var err error
	if m.index, err = m.read(files, indexFile); err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, "*.md")
	if err != nil {
		return nil, err
	}
	exists := map[string]bool{}
	for _, name := range names {
		exists[name] = true
	}
	listed := map[string]bool{indexFile: true}
	for _, name := range linkedPages(m.index.Text) {
		if listed[name] {
			continue
		}
		listed[name] = true
		topic, err := m.read(files, name)
		if err != nil {
			return nil, err
		}
		for _, to := range linkedPages(topic.Text) {
			if !exists[to] {
				return nil, fmt.Errorf("documentation: %s links to %s, which does not exist", name, to)
			}
		}
		m.topics = append(m.topics, topic)
	}
	for _, name := range names {
		if !listed[name] {
			return nil, fmt.Errorf("documentation: %s does not list %s", indexFile, name)
		}
	}
	return m, nil
}

// Topics returns all topics in the order of the index.
func (m *Manual) Topics() []Topic { return m.topics }

// Index returns the page that lists the topics.
func (m *Manual) Index() Topic { return m.index }

// Topic returns the topic of a name, and whether there is one.
func (m *Manual) Topic(name string) (Topic, bool) {
	for _, t := range m.topics {
		if t.Name == name {
			return t, true
		}
	}
	return Topic{}, false
}

func (m *Manual) read(files fs.FS, name string) (Topic, error) {
	data, err := fs.ReadFile(files, name)
	if err != nil {
		return Topic{}, fmt.Errorf("documentation: %w", err)
	}
	t := Topic{Name: strings.TrimSuffix(name, ".md"), Text: string(data)}
	first, _, _ := strings.Cut(t.Text, "\n")
	title, ok := strings.CutPrefix(first, "# ")
	if !ok {
		return Topic{}, fmt.Errorf("documentation: %s does not begin with its title", name)
	}
	t.Title = title
	t.content = sync.OnceValues(t.convert)
	t.page = sync.OnceValues(func() (page, error) { return m.render(t) })
	return t, nil
}

// markdown renders tables besides CommonMark. It leaves out raw HTML and addresses
// that run scripts.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table),
	goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(links{}, 100))),
)

// linkedPages returns the files of documentation that a page links to.
func linkedPages(source string) []string {
	var found []string
	root := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader([]byte(source)))
	eachLink(root, func(l *ast.Link) {
		if file, _, ok := pageOf(string(l.Destination)); ok {
			found = append(found, file)
		}
	})
	return found
}

// pageOf splits a link to a page of the documentation into its file and its
// fragment, which begins with # if there is one.
func pageOf(destination string) (file, fragment string, ok bool) {
	file = destination
	if i := strings.IndexByte(destination, '#'); i >= 0 {
		file, fragment = destination[:i], destination[i:]
	}
	return file, fragment, strings.HasSuffix(file, ".md") && !strings.Contains(file, "/")
}

func eachLink(root ast.Node, do func(*ast.Link)) {
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // do returns no error
		if l, ok := n.(*ast.Link); ok && entering {
			do(l)
		}
		return ast.WalkContinue, nil
	})
}

// isIndex is the key of a parser context that is set for the index, whose address has
// one segment less.
var isIndex = parser.NewContextKey()

// links turns links between files, as they stand in a repository, into links between
// pages. They are relative, so that they hold below any path of the issuer.
type links struct{}

func (links) Transform(root *ast.Document, _ text.Reader, pc parser.Context) {
	pages, above := "", "../"
	if pc.Get(isIndex) != nil {
		pages, above = "docs/", ""
	}
	eachLink(root, func(l *ast.Link) {
		destination := string(l.Destination)
		file, fragment, ok := pageOf(destination)
		switch {
		case ok && file == indexFile:
			l.Destination = []byte(above + "docs" + fragment)
		case ok:
			l.Destination = []byte(pages + strings.TrimSuffix(file, ".md") + fragment)
		case path.Base(destination) == "openapi.yaml":
			l.Destination = []byte(above + "openapi.yaml")
		}
	})
}

// convert renders the text of a topic.
func (t Topic) convert() (content, error) {
	pc := parser.NewContext()
	if t.Name+".md" == indexFile {
		pc.Set(isIndex, true)
	}
	var b bytes.Buffer
	if err := markdown.Convert([]byte(t.Text), &b, parser.WithContext(pc)); err != nil {
		return content{}, fmt.Errorf("documentation: %s: %w", t.Name, err)
	}
	// Wide tables and code scroll on their own, also by keyboard.
	text := strings.NewReplacer(
		"<table>", `<div class="wide" tabindex="0" role="group" aria-label="Table"><table>`, "</table>", "</table></div>",
		"<pre>", `<pre tabindex="0">`,
	).Replace(b.String())
	const end = "</h1>\n" // read has checked that the text begins with its title
	heading, rest, _ := strings.Cut(text, end)
	return content{heading + end, rest}, nil
}
