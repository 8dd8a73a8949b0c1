package containers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"example.com/curfew/internal/config"
)

const composeFile = packaging + "/compose/compose.yaml"

// compose reads the compose file as `docker compose config` does: against the schema
// of the compose specification, with an operator's variables.
func compose(t *testing.T, variables map[string]string) *types.Project {
	t.Helper()
	path, err := filepath.Abs(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: filepath.Dir(path), ConfigFiles: []types.ConfigFile{{Filename: path}}, Environment: variables,
	}, func(o *loader.Options) { o.SetProjectName("curfew", true) })
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// environment returns the variables of a service, as a process has them.
func environment(s types.ServiceConfig) []string {
	var env []string
	for name, value := range s.Environment {
		if value != nil {
			env = append(env, name+"="+*value)
		}
	}
	return env
}

// The compose file says nothing that Curfew or the image does not know.
func TestCompose(t *testing.T) {
	project := compose(t, nil)
	curfew, database := project.Services["curfew"], project.Services["database"]
	if len(project.Services) != 2 {
		t.Errorf("the services are %v", project.ServiceNames())
	}
	if unknown := config.UnknownVariables(environment(curfew)); len(unknown) > 0 {
		t.Errorf("Curfew does not know %v", unknown)
	}
	for name, service := range project.Services {
		mounted := map[string]bool{}
		for _, s := range service.Secrets {
			mounted["/run/secrets/"+s.Source] = true
		}
		for variable, value := range service.Environment {
			if strings.HasSuffix(variable, "_FILE") && !mounted[*value] {
				t.Errorf("%s: %s names %s, which is not mounted", name, variable, *value)
			}
			delete(mounted, *value)
		}
		for path := range mounted {
			t.Errorf("%s: no variable names %s", name, path)
		}
	}
	if d := curfew.DependsOn["database"]; d.Condition != types.ServiceConditionHealthy || database.HealthCheck == nil {
		t.Errorf("Curfew depends on %+v", d)
	}
	if curfew.HealthCheck != nil || curfew.User != "" {
		t.Error("Curfew does not run with the user and the health check of the image")
	}
	if got := time.Duration(*curfew.StopGracePeriod); got < resolved(t, environment(curfew)).ShutdownTimeout+margin {
		t.Errorf("it is ended after %s", got)
	}
	if _, err := os.Stat(filepath.Join(curfew.Build.Context, curfew.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if !curfew.ReadOnly || !slices.Equal(curfew.CapDrop, []string{"ALL"}) || !slices.Equal(curfew.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Error("Curfew may do more than it must")
	}
	for _, p := range append(curfew.Ports, database.Ports...) {
		if p.HostIP != "127.0.0.1" || p.Target != 8420 {
			t.Errorf("port %+v", p)
		}
	}
	if !project.Networks["database"].Internal || len(database.Networks) != 1 {
		t.Error("other machines reach the database")
	}
	with := compose(t, map[string]string{"CURFEW_ISSUER": "https://curfew.example", "CURFEW_TRUSTED_PROXIES": "10.0.0.0/8", "CURFEW_PORT": "9000", "CURFEW_VERSION": "1.2.3"}).Services["curfew"]
	if got := *with.Environment["CURFEW_ISSUER"] + *with.Environment["CURFEW_TRUSTED_PROXIES"] + with.Ports[0].Published + with.Image + *with.Build.Args["VERSION"]; got != "https://curfew.example10.0.0.0/89000curfew:1.2.31.2.3" {
		t.Errorf("an operator's variables do not arrive: %s", got)
	}
}

// margin is how long a runtime waits beyond the shutdown timeout.
const margin = 10 * time.Second

// resolved returns the configuration of a server with the environment, without secrets.
func resolved(t *testing.T, env []string) config.Server {
	t.Helper()
	values := map[string]string{}
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); !strings.HasSuffix(name, "_FILE") {
			values[name] = value
		}
	}
	cfg, err := config.ResolveServer(config.Source{Lookup: func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// documented returns the block of the documentation that contains a text.
func documented(t *testing.T, text string) string {
	t.Helper()
	page, err := os.ReadFile(checkout + "/cmd/curfew/docs/containers.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh elsewhere\n(.*?)^```").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], text) {
			return block[1]
		}
	}
	t.Fatalf("no block has %s", text)
	return ""
}

// composed returns the service of the compose file with the secrets that the
// documented commands make, and these.
func composed(t *testing.T, i image) (c *container, secrets map[string]string) {
	t.Helper()
	dir := t.TempDir()
	commands := strings.NewReplacer("cd cmd/curfew/packaging/compose\n", "", "docker compose", ": docker compose").Replace(documented(t, "mkdir -m 700 secrets"))
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", commands)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	project := compose(t, nil)
	service := project.Services["curfew"]
	c = i.container(t, 65532, 65532)
	c.Env = append(slices.Clone(c.Env), environment(service)...)
	secrets = map[string]string{}
	for name, secret := range project.Secrets {
		path, err := filepath.Rel(project.WorkingDir, secret.File)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = strings.TrimSpace(string(data))
		if slices.ContainsFunc(service.Secrets, func(s types.ServiceSecretConfig) bool { return s.Source == name }) {
			c.Mounts = append(c.Mounts, mount{From: filepath.Join(dir, path), To: "/run/secrets/" + name, ReadOnly: true})
		}
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(service.Tmpfs, []string{"/data:mode=0700,uid=65532,gid=65532"}) {
		t.Errorf("in memory are %v", service.Tmpfs)
	}
	if err := os.Chown(data, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	c.Mounts = append(c.Mounts, mount{From: data, To: "/data"})
	c.withDatabase(t, "database", *project.Services["database"].Environment["POSTGRES_USER"], secrets["database_password"])
	return c, secrets
}

// What the documentation says makes the secrets, and with them the service of the
// compose file runs in the image: as the image's user, which may not write them, and
// with the database at the name of its service.
func TestComposeRuns(t *testing.T) {
	t.Parallel()
	i := theImage(t)
	c, secrets := composed(t, i)
	c.start(t)
	c.untilHealthy(t, i.healthcheck()...)
	c.signIn(t, 8420, secrets["admin_password"])
	if status, body := c.get(t, 8421, "/metrics"); status != 200 {
		t.Errorf("the metrics answer %d: %s", status, body)
	}
	if code, out := c.exec(t, "/curfew", "user", "add", "ben", "--generate-password"); code != 0 {
		t.Errorf("the command line: exit code %d: %s", code, out)
	}
	if c.warned(t, "WARN", "unknown environment variable") {
		t.Error("a variable is not known")
	}
	c.checkDrain(t, i.healthcheck())
}

// The documented command moves the SQLite database of a container to the database of
// the compose file.
func TestMoveToCompose(t *testing.T) {
	t.Parallel()
	i := theImage(t)
	old := filepath.Join(t.TempDir(), "data")
	if err := errors.Join(os.Mkdir(old, 0o770), os.Chown(old, 65532, 0)); err != nil {
		t.Fatal(err)
	}
	before := i.container(t, 65532, 65532)
	before.Env = append(slices.Clone(before.Env), "CURFEW_ADMIN_PASSWORD=correct horse battery", "CURFEW_ISSUER=http://127.0.0.1:8420", "CURFEW_SHUTDOWN_DELAY=0s")
	before.Mounts = []mount{{From: old, To: "/data"}}
	before.start(t)
	before.untilHealthy(t, i.healthcheck()...)
	if code := before.stop(t); code != 0 {
		t.Fatalf("it ended with exit code %d", code)
	}
	after, _ := composed(t, i)
	files := map[string]string{}
	for _, m := range after.Mounts {
		files[m.To] = m.From
	}
	key, err := os.ReadFile(filepath.Join(old, "curfew.db.key"))
	if err == nil {
		err = os.WriteFile(files["/run/secrets/key_encryption_key"], key, 0o444)
	}
	if err != nil {
		t.Fatal(err)
	}
	command := documented(t, "curfew:1.2.3 copy")
	option := regexp.MustCompile(`-e (\S+=/run/secrets/database_url)`).FindStringSubmatch(command)
	if option == nil {
		t.Fatalf("the command names no destination: %s", command)
	}
	move := i.container(t, 65532, 65532)
	move.Env, move.Args = append(slices.Clone(move.Env), option[1]), []string{"/curfew", "copy"}
	move.Mounts = []mount{{From: old, To: "/data"}}
	for _, to := range []string{"/run/secrets/database_url", "/etc/hosts"} {
		move.Mounts = append(move.Mounts, mount{From: files[to], To: to, ReadOnly: true})
	}
	move.database = after.database
	move.start(t)
	if err := <-move.done; err != nil {
		t.Fatalf("%v\n%s", err, move.printed(t))
	}
	after.start(t)
	after.untilHealthy(t, i.healthcheck()...)
	after.signIn(t, 8420, "correct horse battery")
}
