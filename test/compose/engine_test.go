package compose_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long anything may take on a busy machine; nothing is measured
// by it.
const patience = 2 * time.Minute

// engine is a Docker engine that is the test's own.
type engine struct {
	t    *testing.T
	host string
	// pid is that of the engine, whose network namespace is the users' machine.
	pid int
}

// startEngine starts dockerd in a network namespace, and stops it at the end.
func startEngine(t *testing.T) *engine {
	t.Helper()
	require.Zero(t, os.Geteuid(), "a Docker engine needs root")
	dir, err := os.MkdirTemp("", "compose") // the paths of sockets must be short
	require.NoError(t, err)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	socket := filepath.Join(dir, "docker.sock")
	cmd := exec.Command("unshare", "--net", "sh", "-c", `ip link set lo up && exec dockerd "$@"`, "dockerd",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://"+socket)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test, which then stops it
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	var waited error
	go func() {
		defer close(ended)
		waited = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			t.Error("the engine did not stop")
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the engine's log ends in:\n%s", last(string(text), 40))
		}
		require.NoError(t, log.Close())
		require.NoError(t, os.RemoveAll(dir))
	})
	e := &engine{t: t, host: "unix://" + socket, pid: cmd.Process.Pid}
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if _, err := e.try(e.command("docker", "version")); err == nil {
			return e
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			require.FailNow(t, "the engine ended", "%v\n%s", waited, text)
		default:
		}
		require.Less(t, time.Since(start), patience, "the engine did not start")
	}
}

// command is one for the engine.
func (e *engine) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(e.t.Context(), 20*time.Minute)
	e.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+e.host,
		"COMPOSE_DOCKER_CLI_BUILD=0", "DOCKER_BUILDKIT=0") // the builder that Debian's packages have
	return cmd
}

// try returns what a command prints, standard error too if it fails.
func (e *engine) try(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return out.String() + errs.String(), err
	}
	return out.String(), nil
}

// docker runs docker, and returns what it prints.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	out, err := e.try(e.command("docker", args...))
	require.NoError(e.t, err, "docker %s: %s", strings.Join(args, " "), out)
	return strings.TrimSpace(out)
}

// last are the last lines of a text.
func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
