package manual

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

var (
	//go:embed page.html
	pageSource string
	//go:embed style.css
	style string

	pageTemplate = template.Must(template.New("page").Parse(pageSource))
	policy       = "default-src 'none'; style-src '" + hashOf(style) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// hashOf returns the hash of an inline style sheet as a content security policy
// names it.
func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// A page is a rendered topic.
type page struct {
	body []byte
	tag  string // its ETag
}

func (m *Manual) render(t Topic) (page, error) {
	c, err := t.content()
	if err != nil {
		return page{}, err
	}
	view := struct {
		Title   string
		Style   template.CSS
		Content template.HTML
		Index   bool
		Home    string // address of the index
		Topics  []Topic
		Here    string
	}{
		Title: t.Title, Style: template.CSS(style), // #nosec G203 -- a file of ours
		Content: template.HTML(c.heading + c.rest), // #nosec G203 -- rendered without raw HTML
		Home:    "../docs", Topics: m.topics, Here: t.Name,
	}
	if t.Name+".md" == indexFile {
		view.Index, view.Home = true, "docs"
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, view); err != nil {
		return page{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return page{b.Bytes(), `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}, nil
}

// ServeHTTP answers GET and HEAD of /docs and of the paths below it.
func (m *Manual) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "Method not allowed: use GET.", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/docs")
	t, ok := m.index, true
	switch name {
	case "":
	case "/", "/index":
		// Relative: the server may be reached below a path.
		h.Set("Location", "../docs")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	default:
		t, ok = m.Topic(strings.TrimPrefix(name, "/"))
	}
	if !ok {
		http.Error(w, "There is no such topic. /docs lists all topics.", http.StatusNotFound)
		return
	}
	p, err := t.page()
	if err != nil {
		http.Error(w, "The page could not be rendered.", http.StatusInternalServerError)
		return
	}
	// Another node may run another version.
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", p.tag)
	if r.Header.Get("If-None-Match") == p.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(p.body) // the client is gone if this fails
}
