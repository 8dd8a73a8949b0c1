package containers

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	podsecurity "k8s.io/pod-security-admission/api"
	profiles "k8s.io/pod-security-admission/policy"
	kubernetesjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"example.com/curfew/internal/config"
)

// manifests are what kustomize builds.
type manifests struct {
	Deployment          apps.Deployment
	Service             core.Service
	ServiceAccount      core.ServiceAccount
	PodDisruptionBudget policy.PodDisruptionBudget
	NetworkPolicy       networking.NetworkPolicy

	// Only in the example.
	Namespace core.Namespace
	ConfigMap core.ConfigMap
	Ingress   networking.Ingress
}

// kustomize builds a directory and decodes each object by its type in Kubernetes: a
// member that the type does not have, and a value of another type, are errors.
func kustomize(t *testing.T, dir string) (m manifests, kinds []string) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), packaging+"/kubernetes/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range built.Resources() {
		data, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		kind := object.GetKind()
		kinds = append(kinds, kind)
		into := reflect.ValueOf(&m).Elem().FieldByName(kind)
		if !into.IsValid() {
			t.Fatalf("%s has a %s", dir, kind)
		}
		// As in Kubernetes, upper and lower case are not the same.
		strict, err := kubernetesjson.UnmarshalStrict(data, into.Addr().Interface())
		if err := errors.Join(append(strict, err)...); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		// The type that decodes it is that of its version.
		group := strings.Split(into.Type().PkgPath(), "/")
		if want := group[len(group)-2] + "/v1"; object.GetApiVersion() != strings.TrimPrefix(want, "core/") && object.GetApiVersion() != strings.Replace(want, "networking/", "networking.k8s.io/", 1) {
			t.Errorf("%s has the version %s", kind, object.GetApiVersion())
		}
	}
	slices.Sort(kinds)
	return m, kinds
}

// container returns the only container of the pod.
func (m *manifests) container() core.Container { return m.Deployment.Spec.Template.Spec.Containers[0] }

// environment returns the variables of the container, as the objects have them.
func (m *manifests) environment(t *testing.T, secret map[string]string) []string {
	t.Helper()
	values := map[string]string{}
	for _, from := range m.container().EnvFrom {
		if from.ConfigMapRef == nil || from.ConfigMapRef.Name != m.ConfigMap.Name {
			t.Errorf("variables come from %+v", from)
		}
		for name, value := range m.ConfigMap.Data {
			values[name] = value
		}
	}
	for _, e := range m.container().Env {
		switch from := e.ValueFrom; {
		case from == nil:
			values[e.Name] = e.Value
		case from.ConfigMapKeyRef != nil && from.ConfigMapKeyRef.Name == m.ConfigMap.Name && m.ConfigMap.Data[from.ConfigMapKeyRef.Key] != "":
			values[e.Name] = m.ConfigMap.Data[from.ConfigMapKeyRef.Key]
		case from.SecretKeyRef != nil && from.SecretKeyRef.Name == "curfew":
			value, ok := secret[from.SecretKeyRef.Key]
			if ok {
				values[e.Name] = value
			} else if !*from.SecretKeyRef.Optional {
				t.Errorf("%s: the Secret has no %s", e.Name, from.SecretKeyRef.Key)
			}
		default:
			t.Errorf("%s comes from %+v", e.Name, from)
		}
	}
	var env []string
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

// port returns a port of the container by its name.
func (m *manifests) port(t *testing.T, name string) int {
	t.Helper()
	for _, p := range m.container().Ports {
		if p.Name == name {
			return int(p.ContainerPort)
		}
	}
	t.Errorf("the container has no port %s", name)
	return 0
}

// The base has no secret and no issuer, and its objects belong together.
func TestKubernetesBase(t *testing.T) {
	m, kinds := kustomize(t, "base")
	if want := []string{"Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}; !slices.Equal(kinds, want) {
		t.Errorf("the base has %q, want %q", kinds, want)
	}
	pod := m.Deployment.Spec.Template
	for name, selector := range map[string]*meta.LabelSelector{
		"Deployment": m.Deployment.Spec.Selector, "PodDisruptionBudget": m.PodDisruptionBudget.Spec.Selector,
		"NetworkPolicy": &m.NetworkPolicy.Spec.PodSelector, "Service": {MatchLabels: m.Service.Spec.Selector},
		"topology by host": pod.Spec.TopologySpreadConstraints[0].LabelSelector, "topology by zone": pod.Spec.TopologySpreadConstraints[1].LabelSelector,
	} {
		selects, err := meta.LabelSelectorAsSelector(selector)
		if err != nil {
			t.Fatal(err)
		}
		if !selects.Matches(labels.Set(pod.Labels)) || selects.Empty() {
			t.Errorf("%s selects %s, and the pods have %v", name, selects, pod.Labels)
		}
	}
	if *m.Deployment.Spec.Replicas-int32(m.PodDisruptionBudget.Spec.MaxUnavailable.IntValue()) < 1 {
		t.Error("an eviction may end every node")
	}
	if s := pod.Spec; s.ServiceAccountName != m.ServiceAccount.Name || *s.AutomountServiceAccountToken || *m.ServiceAccount.AutomountServiceAccountToken {
		t.Error("the pods have a token of Kubernetes")
	}
	if *pod.Spec.EnableServiceLinks {
		t.Error("Kubernetes sets variables such as CURFEW_PORT")
	}
	evaluator, err := profiles.NewEvaluator(profiles.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	if r := profiles.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
		t.Errorf("Pod Security: %s", r.ForbiddenDetail())
	}
	if !*m.container().SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the root can be written")
	}
	if p := m.Service.Spec.Ports; len(p) != 1 || m.port(t, p[0].TargetPort.String()) != 8420 {
		t.Errorf("the Service leads to %+v", p)
	}
	for _, rule := range m.NetworkPolicy.Spec.Ingress {
		for _, p := range rule.Ports {
			if port := m.port(t, p.Port.String()); port == 8421 && len(rule.From) == 0 {
				t.Error("every pod reaches the metrics")
			}
		}
	}
}

// The example is the base with what it lacks. Curfew knows everything that it says.
func TestKubernetesExample(t *testing.T) {
	m, kinds := kustomize(t, "example")
	if want := []string{"ConfigMap", "Deployment", "Ingress", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}; !slices.Equal(kinds, want) {
		t.Errorf("the example has %q, want %q", kinds, want)
	}
	env := m.environment(t, nil)
	if unknown := config.UnknownVariables(env); len(unknown) > 0 {
		t.Errorf("Curfew does not know %v", unknown)
	}
	if got := time.Duration(*m.Deployment.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; got < resolved(t, env).ShutdownTimeout+margin {
		t.Errorf("a pod is ended after %s", got)
	}
	// A start may take --database-wait, and is told to go on meanwhile.
	if p := m.container().StartupProbe; p.HTTPGet.Path != "/livez" || time.Duration(p.PeriodSeconds*p.FailureThreshold)*time.Second < time.Minute {
		t.Errorf("the startup probe is %+v", p)
	}
	if p := m.container().ReadinessProbe; time.Duration(p.PeriodSeconds*p.FailureThreshold)*time.Second != resolved(t, env).Lease {
		t.Errorf("without a database, nodes leave the Service at another time than their lease ends: %+v", p)
	}
	i := m.Ingress.Spec.Rules[0]
	if backend := i.HTTP.Paths[0].Backend.Service; backend.Name != m.Service.Name || backend.Port.Name != m.Service.Spec.Ports[0].Name {
		t.Errorf("the Ingress leads to %+v", backend)
	}
	if issuer := "CURFEW_ISSUER=https://" + i.Host; !slices.Contains(env, issuer) || m.Ingress.Spec.TLS[0].Hosts[0] != i.Host {
		t.Errorf("the Ingress is for %s", i.Host)
	}
	limits := m.container().Resources.Limits
	memory := limits.Memory().Value()
	if !slices.Contains(env, "GOMEMLIMIT=460MiB") || memory < 460<<20*11/10 {
		t.Errorf("the limit of memory is %d", memory)
	}
}

// secretOf runs the documented commands that make the Secret, with a kubectl that
// only keeps what it is given.
func secretOf(t *testing.T) (dir string, secret map[string]string) {
	t.Helper()
	dir = t.TempDir()
	const stub = `#!/bin/bash
set -eu
echo "$*" >>kubectl.log
for argument; do
	case $argument in
	--from-file=*) test -f "${argument#--from-file=}" && echo "${argument#--from-file=}" >>keys ;;
	cmd/*) test -e "$CHECKOUT/$argument" ;;
	esac
done
`
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", documented(t, "create secret generic"))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CHECKOUT="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	secret = map[string]string{}
	for key := range strings.FieldsSeq(string(keys)) {
		data, err := os.ReadFile(filepath.Join(dir, key))
		if err != nil {
			t.Fatal(err)
		}
		secret[key] = string(data)
	}
	return dir, secret
}

// pod returns a pod of the Deployment with the Secret, as Kubernetes starts it.
func (m *manifests) pod(t *testing.T, i image, secret map[string]string) *container {
	t.Helper()
	spec, p := m.Deployment.Spec.Template.Spec, m.container()
	security := spec.SecurityContext
	c := i.container(t, int(*security.RunAsUser), int(*security.RunAsGroup))
	c.Groups = append(c.Groups, int(*security.FSGroup))
	c.Env, c.Dir = append(slices.Clone(c.Env), m.environment(t, secret)...), p.WorkingDir
	c.Args = append(slices.Clone(i.config.Entrypoint), p.Args...)
	for _, v := range spec.Volumes {
		if v.Secret == nil || v.Secret.SecretName != "curfew" {
			t.Fatalf("volume %+v", v)
		}
		// The files belong to root and to the fsGroup.
		dir := filepath.Join(t.TempDir(), v.Name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for key, value := range secret {
			file := filepath.Join(dir, key)
			if err := os.WriteFile(file, []byte(value), 0o400); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(file, 0, int(*security.FSGroup)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, os.FileMode(*v.Secret.DefaultMode)); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range p.VolumeMounts {
			if at.Name == v.Name {
				c.Mounts = append(c.Mounts, mount{From: dir, To: at.MountPath, ReadOnly: true})
			}
		}
	}
	return c
}

// The pods of the example run in the image with the Secret that the documentation
// makes, and both start on an empty database at once. Their probes succeed. A session of
// one is valid at the other. At its end a pod serves while it is not ready.
func TestKubernetesRuns(t *testing.T) {
	t.Parallel()
	i := theImage(t)
	m, _ := kustomize(t, "example")
	_, secret := secretOf(t)
	// The database of the test has no certificate.
	secret["database"] = strings.Replace(secret["database"], "sslmode=verify-full", "sslmode=disable", 1)
	c := m.pod(t, i, secret)
	c.withDatabase(t, "postgres.database.svc", "curfew", "secret")
	other := m.pod(t, i, secret)
	other.database = c.database
	other.Mounts = append(other.Mounts, c.Mounts[len(c.Mounts)-1]) // the name of the database
	if *m.Deployment.Spec.Replicas != 2 {
		t.Errorf("there are %d pods", *m.Deployment.Spec.Replicas)
	}
	c.start(t)
	other.start(t)
	c.untilHealthy(t, i.healthcheck()...)
	other.untilHealthy(t, i.healthcheck()...)
	container := m.container()
	for name, probe := range map[string]*core.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
		if status, body := c.get(t, m.port(t, probe.HTTPGet.Port.String()), probe.HTTPGet.Path); status != http.StatusOK {
			t.Errorf("the %s probe answers %d: %s", name, status, body)
		}
	}
	if status, body := c.get(t, m.port(t, "metrics"), "/metrics"); status != http.StatusOK {
		t.Errorf("the metrics answer %d: %s", status, body)
	}
	token := c.signIn(t, m.port(t, "http"), strings.TrimSpace(secret["admin-password"]))
	if status, body := other.ask(t, m.port(t, "http"), "/v1/session", token); status != http.StatusOK {
		t.Errorf("the session of one pod is not valid at the other: %d %s", status, body)
	}
	for _, text := range []string{"unknown environment variable", "may open it"} {
		if c.warned(t, text) {
			t.Errorf("a warning: %s\n%s", text, c.printed(t))
		}
	}
	c.checkDrain(t, i.healthcheck())
	for line := range strings.Lines(c.printed(t)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("a line is not JSON: %s", line)
		}
	}
	if !c.warned(t, "not ready any more", "10s") {
		t.Error("the delay at the end is not that of the manifest")
	}
}

// Without a password for admin the first start fails, and says so: it can't write one.
func TestKubernetesWithoutAPassword(t *testing.T) {
	t.Parallel()
	i := theImage(t)
	m, _ := kustomize(t, "example")
	_, secret := secretOf(t)
	secret["database"] = strings.Replace(secret["database"], "sslmode=verify-full", "sslmode=disable", 1)
	delete(secret, "admin-password")
	c := m.pod(t, i, secret)
	c.withDatabase(t, "postgres.database.svc", "curfew", "secret")
	c.start(t)
	if err := <-c.done; err == nil || !c.warned(t, "read-only file system", "CURFEW_ADMIN_PASSWORD") {
		t.Errorf("it ended with %v:\n%s", err, c.printed(t))
	}
}
