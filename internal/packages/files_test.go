//go:build packages

package packages

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/curfew/internal/curfewtest"
)

// Another directory makes the same bytes.
func TestSameBytes(t *testing.T) {
	checkout := filepath.Join(t.TempDir(), "another checkout")
	if err := os.Mkdir(checkout, 0o755); err != nil {
		t.Fatal(err)
	}
	module := curfewtest.Module()
	files := output(t, "git", "-C", module, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	copying := exec.CommandContext(t.Context(), "sh", "-c", `tar -C "$1" --null --ignore-failed-read -T - -cf - | tar -C "$2" -xf -`, "sh", module, checkout)
	copying.Stdin = strings.NewReader(files)
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	commit := strings.TrimSpace(output(t, "git", "-C", module, "log", "-1", "--format=%ct"))
	again := filepath.Join(t.TempDir(), "again")
	if err := dist(checkout, oldVersion, again, "SOURCE_DATE_EPOCH="+commit, "HOSTNAME=elsewhere", "TZ=Asia/Tokyo"); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadDir(filepath.Join(releases, oldVersion))
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 5 { // archive, SBOM, deb, rpm, checksums
		t.Errorf("%d files, want 5: %v", len(first), first)
	}
	for _, file := range first {
		one, err := os.ReadFile(filepath.Join(releases, oldVersion, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(again, file.Name()))
		if err != nil {
			t.Error(err)
			continue
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s is another file in the second build", file.Name())
		}
	}
}

// SHA256SUMS has the checksum of every other file.
func TestChecksums(t *testing.T) {
	dir := filepath.Join(releases, oldVersion)
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.Name() == "SHA256SUMS" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("%x  %s\n", sha256.Sum256(content), file.Name()); !strings.Contains(string(sums), line) {
			t.Errorf("SHA256SUMS lacks %s", line)
		}
	}
}

func TestArchive(t *testing.T) {
	for _, version := range []string{oldVersion, newVersion} {
		dir := unpack(t, version)
		if got := output(t, filepath.Join(dir, "curfew"), "version"); !strings.HasPrefix(got, "curfew "+version+" (go") {
			t.Errorf("%s says that it is %q", version, got)
		}
		want, err := os.ReadFile(filepath.Join(curfewtest.Module(), "LICENSE"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "LICENSE")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("LICENSE: %v, not that of the repository", err)
		}
		for _, name := range []string{"curfew.env", "systemd/curfew.service", "man/curfew.1", "completions/_curfew"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		// cgo would tie the program to the C library of the machine that has built it.
		if file := output(t, "go", "version", "-m", filepath.Join(dir, "curfew")); !strings.Contains(file, "CGO_ENABLED=0") ||
			strings.Contains(file, curfewtest.Module()) {
			t.Errorf("the program was built with\n%s", file)
		}
	}
}

// The SBOM names the modules that are in the program, and no tool.
func TestSBOM(t *testing.T) {
	text, err := os.ReadFile(released(t, oldVersion, "*.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct{ Name, Version string } `json:"component"`
		} `json:"metadata"`
		Components []struct{ Name, Version string } `json:"components"`
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Name != "example.com/curfew" || bom.Metadata.Component.Version != "v"+oldVersion {
		t.Errorf("the SBOM is of %+v", bom.Metadata.Component)
	}
	var got []string
	for _, c := range bom.Components {
		if c.Name != "std" {
			got = append(got, c.Name+" "+c.Version)
		}
	}
	modules := output(t, "go", "version", "-m", filepath.Join(unpack(t, oldVersion), "curfew"))
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(modules, -1) {
		want = append(want, m[1]+" "+m[2])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) < 20 {
		t.Errorf("the SBOM has\n%q, and the program\n%q", got, want)
	}
}

// The packages have what the archive has, where Debian and Red Hat look for it. Only
// root reads the files that may hold secrets.
func TestContents(t *testing.T) {
	dir := unpack(t, oldVersion)
	pages, err := os.ReadDir(filepath.Join(dir, "man"))
	if err != nil {
		t.Fatal(err)
	}
	both := []string{
		"-rwxr-xr-x /usr/bin/curfew",
		"-rw-r--r-- /usr/lib/systemd/system/curfew.service",
		"-rw------- /etc/curfew/curfew.env",
		"-rw-r--r-- /usr/share/bash-completion/completions/curfew",
		"-rw-r--r-- /usr/share/fish/vendor_completions.d/curfew.fish",
	}
	for _, page := range pages {
		both = append(both, "-rw-r--r-- /usr/share/man/man1/"+page.Name())
	}
	for _, test := range []struct {
		kind, list string
		want       []string
	}{
		{
			"deb", output(t, "dpkg-deb", "--contents", released(t, oldVersion, "*.deb")),
			[]string{"-rw-r--r-- /usr/share/zsh/vendor-completions/_curfew", "-rw-r--r-- /usr/share/doc/curfew/copyright", "-rw-r--r-- /usr/share/doc/curfew/LICENSE"},
		},
		{
			"rpm", output(t, "rpm", "-qplv", released(t, oldVersion, "*.rpm")),
			[]string{"-rw-r--r-- /usr/share/zsh/site-functions/_curfew", "-rw-r--r-- /usr/share/licenses/curfew/LICENSE"},
		},
	} {
		var got []string
		for line := range strings.Lines(test.list) {
			words := strings.Fields(line)
			if !strings.HasPrefix(words[0], "d") {
				got = append(got, words[0]+" "+strings.TrimPrefix(words[len(words)-1], "."))
			}
			if !strings.Contains(strings.ReplaceAll(line, "/", " "), " root ") {
				t.Errorf("%s: not root's: %s", test.kind, line)
			}
		}
		want := append(slices.Clone(both), test.want...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s has\n%s\nwant\n%s", test.kind, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := output(t, "dpkg-deb", "--info", released(t, oldVersion, "*.deb"), "conffiles"); strings.TrimSpace(got) != "/etc/curfew/curfew.env" {
		t.Errorf("conffiles of deb: %s", got)
	}
	if got := output(t, "rpm", "-qp", "--configfiles", released(t, oldVersion, "*.rpm")); strings.TrimSpace(got) != "/etc/curfew/curfew.env" {
		t.Errorf("configuration files of rpm: %s", got)
	}
	if got := output(t, "dpkg-deb", "--field", released(t, newVersion, "*.deb"), "Version"); strings.TrimSpace(got) != "1.1.0~rc.1-1" {
		t.Errorf("a release candidate has the version %s, and has to come before the release", got)
	}
}

// Every variable in the configuration file is one of the server's.
func TestConfigurationFile(t *testing.T) {
	dir := unpack(t, oldVersion)
	text, err := os.ReadFile(filepath.Join(dir, "curfew.env"))
	if err != nil {
		t.Fatal(err)
	}
	help := output(t, filepath.Join(dir, "curfew"), "serve", "--help")
	variables := regexp.MustCompile(`(?m)^#?(CURFEW_[A-Z_]+)=`).FindAllStringSubmatch(string(text), -1)
	if len(variables) < 8 {
		t.Errorf("only %d variables", len(variables))
	}
	for _, v := range variables {
		if !strings.Contains(help, v[1]+"]") && !strings.Contains(help, v[1]+",") {
			t.Errorf("curfew.env has %s, which the server does not know", v[1])
		}
	}
}

// No manual page has an error or a warning.
func TestManPagesParse(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(unpack(t, oldVersion), "man", "*"))
	if err != nil || len(pages) < 50 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	output(t, "mandoc", append([]string{"-T", "lint", "-W", "warning,stop"}, pages...)...)
}

// Each shell reads its completions, and bash completes with them.
func TestCompletions(t *testing.T) {
	dir := unpack(t, oldVersion)
	at := filepath.Join(dir, "completions")
	output(t, "zsh", "-n", filepath.Join(at, "_curfew"))
	output(t, "fish", "--no-execute", filepath.Join(at, "curfew.fish"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	got := output(t, "bash", "-c", `source /usr/share/bash-completion/bash_completion && source "$1"
COMP_WORDS=(curfew revoke us) COMP_CWORD=2 COMP_LINE="curfew revoke us" COMP_POINT=16 COMP_TYPE=9 COMP_KEY=9
__start_curfew
printf '%s\n' "${COMPREPLY[@]}"`, "bash", filepath.Join(at, "curfew.bash"))
	if strings.TrimSpace(got) != "user" {
		t.Errorf("bash completes `curfew revoke us` with %q", got)
	}
}
