package compose_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stack is a project of docker-compose in a copy of what users have.
type stack struct {
	*engine
	dir string
}

// newStack copies the checkout, so that policies can be edited.
func newStack(t *testing.T, e *engine, root string) *stack {
	t.Helper()
	s := &stack{engine: e, dir: filepath.Join(t.TempDir(), "sallyport")}
	for _, name := range []string{"cmd", "pkg", "policy", "xds", "envoy", "examples"} {
		require.NoError(t, os.CopyFS(filepath.Join(s.dir, name), os.DirFS(filepath.Join(root, name))))
	}
	for _, name := range []string{"go.mod", "go.sum", ".dockerignore", "docker-compose.yaml", "README.md"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), content, 0o600))
	}
	return s
}

// compose runs docker-compose.
func (s *stack) compose(args ...string) (string, error) {
	cmd := s.command("docker-compose", args...)
	cmd.Dir = s.dir
	return s.try(cmd)
}

// mustCompose is compose without an error.
func (s *stack) mustCompose(args ...string) string {
	s.t.Helper()
	out, err := s.compose(args...)
	require.NoError(s.t, err, "docker-compose %s:\n%s", strings.Join(args, " "), last(out, 60))
	return out
}

// exec runs a program in a service's container. (docker-compose does the same, but
// takes a second for it.)
func (s *stack) exec(service string, args ...string) (string, error) {
	return s.try(s.command("docker", append([]string{"exec", s.containers()[service].ID}, args...)...))
}

// curl asks as people do.
func (s *stack) curl(service, host string) (string, error) {
	return s.exec(service, "curl", "-sS", "-m", "10", "https://"+host+"/")
}

// container is what docker inspect says of one.
type container struct {
	ID     string
	Name   string
	Config struct {
		User   string
		Labels map[string]string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		Privileged     bool
		CapAdd         []string
		CapDrop        []string
		SecurityOpt    []string
		Memory         int64
		PidsLimit      int64
		RestartPolicy  struct{ Name string }
	}
	State struct {
		Status   string
		Pid      int
		ExitCode int
		Health   *struct{ Status string }
	}
	RestartCount int
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers are those of the project, by service.
func (s *stack) containers() map[string]container {
	s.t.Helper()
	ids := strings.Fields(s.docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project"))
	require.NotEmpty(s.t, ids)
	var list []container
	require.NoError(s.t, json.Unmarshal([]byte(s.docker(append([]string{"inspect"}, ids...)...)), &list))
	out := make(map[string]container)
	for _, c := range list {
		out[c.service()] = c
	}
	return out
}

// healthy waits until every container that has a health check is healthy, and
// those without one run; ca has done its work.
func (s *stack) healthy(but ...string) {
	s.t.Helper()
	s.eventually("health", func() string {
		for name, c := range s.containers() {
			switch {
			case name == "ca":
				if c.State.Status != "exited" || c.State.ExitCode != 0 {
					return name + " is " + c.State.Status
				}
			case len(but) > 0 && but[0] == name:
			case c.State.Status != "running":
				return name + " is " + c.State.Status
			case c.State.Health != nil && c.State.Health.Status != "healthy":
				return name + " is " + c.State.Health.Status
			}
		}
		return ""
	})
}

// eventually waits until what returns nothing to complain about.
func (s *stack) eventually(what string, complaint func() string) {
	s.t.Helper()
	var said string
	for start := time.Now(); time.Since(start) < patience; time.Sleep(100 * time.Millisecond) {
		if said = complaint(); said == "" {
			return
		}
	}
	require.FailNow(s.t, "in vain: "+what, said)
}

// policies is the file that people edit.
func (s *stack) policies() string {
	return filepath.Join(s.dir, "examples", "compose", "policies", "wikipedia.yaml")
}

// edit replaces text in it.
func (s *stack) edit(from, to string) {
	s.t.Helper()
	s.editFile(s.policies(), from, to)
}
