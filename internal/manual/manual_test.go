package manual

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const index = "# Documentation\n\n- [Keys](keys.md)\n- [Backup](backup.md#restore)\n"

func files(pages ...string) fstest.MapFS {
	fs := fstest.MapFS{}
	for i := 0; i < len(pages); i += 2 {
		fs[pages[i]] = &fstest.MapFile{Data: []byte(pages[i+1])}
	}
	return fs
}

func newTestManual(t *testing.T) *Manual {
	t.Helper()
	m, err := New(files("index.md", index,
		"keys.md", "# Keys\n\nSee [backup](backup.md#restore), [all](index.md), [the API](../../../internal/httpapi/openapi.yaml).\n\n"+
			"<script>alert(1)</script> [x](javascript:alert(1))\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\ncurfew <x>\n```\n",
		"backup.md", "# Backup\n\n## Restore\n\ntext\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ask(m *Manual, method, path string, header ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	m.ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	m := newTestManual(t)
	for _, tt := range []struct {
		method, path string
		status       int
		has, lacks   []string
	}{
		{"GET", "/docs", 200, []string{"<title>Documentation · ", `href="docs/keys"`, `href="docs/backup#restore"`}, []string{"<nav"}},
		{"HEAD", "/docs", 200, nil, nil},
		{"GET", "/docs/keys", 200, []string{
			"<h1 ", `href="backup#restore"`, `href="../docs"`, `href="../openapi.yaml"`, `<li><a href="keys" aria-current="page">`,
			`<div class="wide" tabindex="0" role="group" aria-label="Table"><table>`, `<pre tabindex="0"><code class="language-sh">curfew &lt;x&gt;`,
		}, []string{"<script", "javascript:"}},
		{"GET", "/docs/backup", 200, []string{`id="restore"`}, nil},
		{"GET", "/docs/nothing", 404, []string{"no such topic"}, nil},
		{"GET", "/docs/keys/", 404, nil, nil},
		{"GET", "/docs/keys.md", 404, nil, nil},
		{"POST", "/docs/keys", 405, nil, nil},
	} {
		w := ask(m, tt.method, tt.path)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.status)
		}
		for _, text := range tt.has {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s lacks %s:\n%s", tt.method, tt.path, text, w.Body)
			}
		}
		for _, text := range tt.lacks {
			if strings.Contains(w.Body.String(), text) {
				t.Errorf("%s %s has %s", tt.method, tt.path, text)
			}
		}
	}
	for _, path := range []string{"/docs/", "/docs/index"} {
		// Not below the root: the server may be reached below a path.
		if w := ask(m, "GET", path); w.Code != 308 || w.Header()["Location"][0] != "../docs" {
			t.Errorf("%s: %d to %q", path, w.Code, w.Header().Get("Location"))
		}
	}
}

// The policy allows the style sheet of the page and nothing else.
func TestPolicy(t *testing.T) {
	w := ask(newTestManual(t), "GET", "/docs/keys")
	sheet := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(w.Body.String())
	if len(sheet) != 2 {
		t.Fatal("the page has no style sheet")
	}
	want := "default-src 'none'; style-src '" + hashOf(sheet[1]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("policy %s\nwant   %s", got, want)
	}
	if strings.Contains(w.Body.String(), " style=") {
		t.Error("the page has inline styles, which the policy forbids")
	}
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	m := newTestManual(t)
	tag := ask(m, "GET", "/docs/keys").Header().Get("ETag")
	if w := ask(m, "GET", "/docs/keys", "If-None-Match", tag); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
	if w := ask(m, "GET", "/docs/backup", "If-None-Match", tag); w.Code != 200 {
		t.Errorf("another page: %d", w.Code)
	}
}

func TestTopics(t *testing.T) {
	m := newTestManual(t)
	var names []string
	for _, topic := range m.Topics() {
		names = append(names, topic.Name+"="+topic.Title)
	}
	if got := strings.Join(names, " "); got != "keys=Keys backup=Backup" {
		t.Errorf("topics %s", got)
	}
	if topic, ok := m.Topic("backup"); !ok || !strings.HasPrefix(topic.Text, "# Backup\n") {
		t.Errorf("backup: %v, %q", ok, topic.Text)
	}
	if _, ok := m.Topic("index"); ok {
		t.Error("the index is a topic")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"no index":        {files("keys.md", "# Keys\n"), "index.md"},
		"no title":        {files("index.md", "- [Keys](keys.md)\n"), "begin with its title"},
		"page not listed": {files("index.md", "# A\n", "keys.md", "# Keys\n"), "does not list keys.md"},
		"missing page":    {files("index.md", "# A\n\n[Keys](keys.md)\n"), "keys.md"},
		"broken link":     {files("index.md", "# A\n\n[Keys](keys.md)\n", "keys.md", "# Keys\n\n[x](gone.md)\n"), "keys.md links to gone.md"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tt.files); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}
