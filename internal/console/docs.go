package console

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"example.com/curfew/internal/inbound"
	"example.com/curfew/internal/manual"
	"example.com/curfew/internal/store"
	"example.com/curfew/token"
)

// docPages show the documentation in the frame of the console. They need neither a
// session nor the database.
type docPages struct {
	manual *manual.Manual // nil: there is none
	pages  *http.ServeMux // the console's pages, to tell an address that can be opened
}

type docView struct {
	frame
	Content template.HTML
	Topics  []docTopic // all; nil on the page that lists them
	// Back is the page of the console that the user came from, without a path if it is
	// not known. The script remembers it from topic to topic.
	Back crumb
}

type docTopic struct {
	Path, Title string
	Here        bool
}

const docsPath = "/docs"

func (p *docPages) show(x *exchange) error {
	inbound.Of(x.r).Quiet = true
	if p.manual == nil {
		return store.ErrNotFound
	}
	name := x.r.PathValue("topic")
	t := p.manual.Index()
	switch {
	case x.r.URL.Path == docsPath:
	case name == "" || name == t.Name:
		return x.redirect(docsPath)
	default:
		var ok bool
		if t, ok = p.manual.Topic(name); !ok {
			return store.ErrNotFound
		}
	}
	// Who reads is active. Without a session the page is the same.
	if x.session != nil && x.personal() {
		_ = x.refresh()
	}
	content, err := t.HTML()
	if err != nil {
		return err
	}
	view := docView{frame: x.frame(t.Title, docsPath), Content: content, Back: p.cameFrom(x)}
	view.Notice = ""
	if x.session == nil && token.ReasonOf(x.refused) != token.ErrUnavailable {
		view.SignIn = withQuery("/sign-in", "return", x.r.URL.Path)
	}
	if x.r.URL.Path != docsPath {
		view.Trail = []crumb{{p.manual.Index().Title, docsPath}}
		for _, topic := range p.manual.Topics() {
			view.Topics = append(view.Topics, docTopic{docsPath + "/" + topic.Name, topic.Title, topic.Name == t.Name})
		}
	}
	return x.ok("docs", view)
}

// cameFrom returns the page of the console with the link that led here, named as in the
// menu: the zero crumb if it is unknown or part of the documentation, and without a
// session.
func (p *docPages) cameFrom(x *exchange) crumb {
	from, err := url.Parse(x.r.Referer())
	if x.session == nil || err != nil || from.Host == "" || from.Host != x.host() {
		return crumb{}
	}
	path, ok := strings.CutPrefix(from.EscapedPath(), x.prefix)
	if !ok || path == docsPath || strings.HasPrefix(path, docsPath+"/") {
		return crumb{}
	}
	// The address of a form that was refused is no page.
	if _, pattern := p.pages.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}}); pattern == "" {
		return crumb{}
	}
	if from.RawQuery != "" {
		path += "?" + from.RawQuery
	}
	to := crumb{"the page before", back(path)}
	for _, m := range menu {
		if to.Path == m.Path || m.Path != start && strings.HasPrefix(to.Path, m.Path) {
			to.Words = m.Words
		}
	}
	if strings.HasPrefix(to.Path, "/profile") || to.Path == start && !administering.met(x.caller) {
		to.Words = "Profile"
	}
	return to
}

// pagesOf returns a mux that knows the paths that can be opened as a page.
func pagesOf(all []route) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range all {
		if strings.HasPrefix(r.pattern, http.MethodGet+" ") && !r.machine {
			mux.Handle(r.pattern, http.NotFoundHandler())
		}
	}
	return mux
}
