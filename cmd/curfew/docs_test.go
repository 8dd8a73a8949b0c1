package main

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// curfewHere runs a command in this process.
func curfewHere(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestDocs(t *testing.T) {
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	code, list, _ := curfewHere(t, "docs")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, topic := range m.Topics() {
		if !strings.Contains(list, topic.Name+" ") {
			t.Errorf("the list lacks %s:\n%s", topic.Name, list)
		}
		source, err := os.ReadFile("docs/" + topic.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if code, out, _ := curfewHere(t, "docs", topic.Name); code != 0 || out != strings.ReplaceAll(string(source), " elsewhere\n", "\n") || strings.Contains(out, "```sh elsewhere") {
			t.Errorf("curfew docs %s: exit code %d, not the file without the marks of its blocks", topic.Name, code)
		}
	}
	for typed, want := range map[string]string{
		"secruity": "did you mean security?",
		"xyzzy":    "the topics are ",
	} {
		if code, _, complaint := curfewHere(t, "docs", typed); code != exitUsage || !strings.Contains(complaint, want) {
			t.Errorf("curfew docs %s: exit code %d, %s", typed, code, complaint)
		}
	}
}

// A server, a server below a path, and an edge show every topic, and every link
// leads to a page that has the place.
func TestDocsAreServed(t *testing.T) {
	m, err := documentation()
	if err != nil {
		t.Fatal(err)
	}
	server := startServer(t, &serverProcess{args: []string{"--issuer", "http://curfew.test/below"}})
	var client struct{ ID, Secret string }
	if err := json.Unmarshal([]byte(server.curfew(t, "client", "add", "edge", "--can", "follow", "--json")), &client); err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(server.banner()["URL"], "/below")
	// RFC 8414, section 2: the metadata leads to it.
	if metadata := fetchPage(t, base+"/.well-known/oauth-authorization-server"); !strings.Contains(metadata, `"service_documentation":"http://curfew.test/below/docs"`) {
		t.Errorf("the metadata does not lead to the documentation: %s", metadata)
	}
	edge := startServer(t, &serverProcess{
		command: "edge", args: []string{"--upstream", base, "--client-id", client.ID},
		env: []string{"CURFEW_CLIENT_SECRET=" + client.Secret},
	})
	for name, root := range map[string]string{
		"server": base, "server below a path": base + "/below", "edge": strings.TrimSuffix(edge.banner()["URL"], "/below"),
	} {
		t.Run(name, func(t *testing.T) {
			pages := crawl(t, root+"/docs")
			for _, topic := range m.Topics() {
				if !strings.Contains(pages[root+"/docs/"+topic.Name], html.EscapeString(topic.Title)) {
					t.Errorf("no page shows %s", topic.Name)
				}
			}
		})
	}
}

var (
	linkIn  = regexp.MustCompile(`href="([^"]+)"`)
	placeIn = regexp.MustCompile(` id="([^"]+)"`)
)

// crawl returns the pages of a server that the links of one lead to, by address.
func crawl(t *testing.T, start string) map[string]string {
	t.Helper()
	pages, wanted := map[string]string{}, map[string][]string{} // the places that links name
	for todo := []string{start}; len(todo) > 0; todo = todo[1:] {
		address := todo[0]
		if _, done := pages[address]; done {
			continue
		}
		pages[address] = fetchPage(t, address)
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range linkIn.FindAllStringSubmatch(pages[address], -1) {
			to, err := at.Parse(html.UnescapeString(link[1]))
			if err != nil {
				t.Fatal(err)
			}
			if to.Host != at.Host {
				continue // the internet
			}
			if strings.HasSuffix(to.Path, "/") || strings.HasSuffix(to.Path, "/sign-in") {
				continue // out of the documentation, into the console
			}
			fragment := to.Fragment
			to.Fragment = ""
			if fragment != "" {
				wanted[to.String()] = append(wanted[to.String()], fragment)
			}
			todo = append(todo, to.String())
		}
	}
	for address, fragments := range wanted {
		has := map[string]bool{}
		for _, place := range placeIn.FindAllStringSubmatch(pages[address], -1) {
			has[place[1]] = true
		}
		for _, fragment := range fragments {
			if !has[fragment] {
				t.Errorf("a link leads to %s#%s, and the page has no such place", address, fragment)
			}
		}
	}
	return pages
}

func fetchPage(t *testing.T, address string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %d, %v", address, answer.StatusCode, err)
	}
	return string(body)
}

// Each command stands in a group of the help.
func TestCommandsHaveGroups(t *testing.T) {
	c := &cli{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}
	for _, command := range c.root().Commands() {
		if command.GroupID == "" && command.IsAvailableCommand() {
			t.Errorf("%s is in no group", command.Name())
		}
	}
}
