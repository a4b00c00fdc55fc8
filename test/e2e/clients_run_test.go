package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// proxying is how a client reaches its proxy.
type proxying struct {
	// url is http://… for a workload's own proxy, and https://… for a gateway.
	url string
	// certificate, key and authority are the files for mutual TLS with a gateway.
	certificate, key, authority string
	// roots is the file of the hosts' authority.
	roots string
}

// answer is what a client says of a request: see clients/main.go.
type answer struct {
	Status  int
	Connect int
	Headers map[string]string
	Body    string
	Error   string
	// exit is curl's exit code.
	exit int
}

// String is what came of it, in a line.
func (a answer) String() string {
	switch {
	case a.Connect != 0:
		return fmt.Sprintf("CONNECT %d: %s", a.Connect, a.Error)
	case a.Status != 0:
		return fmt.Sprintf("%d from %q: %s", a.Status, a.Headers["Lab-Server"], a.Body)
	default:
		return a.Error
	}
}

// client is a program as people have it.
type client struct {
	name string
	run  func(ctx context.Context, p proxying, method, url string) (answer, error)
}

// get makes a request, which any outcome answers; a client that does not work
// does not.
func (c client) get(t *testing.T, p proxying, method, url string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := c.run(ctx, p, method, url)
	require.NoError(t, err, "%s %s %s", c.name, method, url)
	return got
}

// The clients that every scenario is run with; direct and unmodified are more
// of Python's.
func fourClients(t *testing.T) []client {
	return []client{curl(t), goClient(t), pythonClient(t, "requests"), nodeClient(t)}
}

// directClients can all speak mutual TLS with a gateway.
func directClients(t *testing.T) []client {
	return append(fourClients(t), pythonClient(t, "urllib3"), pythonClient(t, "httpx"))
}

// plainClients can all use a proxy on loopback.
func plainClients(t *testing.T) []client {
	return append(directClients(t), pythonClient(t, "urllib"))
}

// curl is curl, with more options if need be.
func curl(t *testing.T, more ...string) client {
	t.Helper()
	path := program(t, "curl", "curl")
	return client{"curl", func(ctx context.Context, p proxying, method, url string) (answer, error) {
		dir, err := os.MkdirTemp("", "sallyport-curl")
		if err != nil {
			return answer{}, err
		}
		defer os.RemoveAll(dir)
		head, body := filepath.Join(dir, "head"), filepath.Join(dir, "body")
		args := []string{
			"--silent", "--show-error", "--max-time", "20", "--output", body, "--dump-header", head, "--suppress-connect-headers",
			"--write-out", "%{http_code} %{http_connect}", "--cacert", p.roots, url,
		}
		args = append(args, more...)
		if method == http.MethodHead {
			args = append(args, "--head")
		}
		if p.certificate != "" {
			args = append(args, "--proxy-cert", p.certificate, "--proxy-key", p.key, "--proxy-cacert", p.authority)
		}
		out, stderr, err := command(ctx, p, path, args...)
		got := answer{Error: strings.TrimSpace(stderr)}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			got.exit = exit.ExitCode()
		} else if err != nil {
			return got, err
		}
		if _, err := fmt.Sscan(out, &got.Status, &got.Connect); err != nil {
			return got, fmt.Errorf("curl says %q, %q: %w", out, stderr, err)
		}
		if got.Connect == http.StatusOK {
			got.Connect = 0
		}
		got.Headers, err = headers(head)
		page, _ := os.ReadFile(body) // there is none without an answer
		got.Body = string(page)
		return got, err
	}}
}

// headers reads what curl wrote.
func headers(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			found[http.CanonicalHeaderKey(name)] = value
		}
	}
	return found, nil
}

func goClient(t *testing.T) client {
	t.Helper()
	require.FileExists(t, goGet)
	return printing("Go", goGet)
}

func pythonClient(t *testing.T, library string) client {
	t.Helper()
	python, err := filepath.Abs("../../.clients/bin/python")
	require.NoError(t, err)
	require.FileExists(t, python, "Python with its HTTP clients: `make clients` puts it there")
	return printing("Python "+library, python, "clients/get.py", library)
}

func nodeClient(t *testing.T) client {
	t.Helper()
	return printing("Node", program(t, "node", "nodejs"), "clients/get.mjs")
}

// program finds a program that make installs.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "this test needs %s: `make clients`, or apt-get install %s", name, debian)
	return path
}

// printing is a client that prints its answer.
func printing(name, path string, args ...string) client {
	return client{name, func(ctx context.Context, p proxying, method, url string) (answer, error) {
		out, stderr, err := command(ctx, p, path, append(args[:len(args):len(args)], method, url)...)
		if err != nil {
			return answer{}, fmt.Errorf("%s: %w: %s", name, err, stderr)
		}
		var got answer
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			return answer{}, fmt.Errorf("%s printed %s: %w", name, strconv.Quote(out), err)
		}
		return got, nil
	}}
}

// command runs a client in an environment that has the proxy and, for programs
// that know nothing of it all, the hosts' authority.
func command(ctx context.Context, p proxying, path string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "HTTPS_PROXY=" + p.url, "http_proxy=" + p.url}
	for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		cmd.Env = append(cmd.Env, name+"="+p.roots)
	}
	if p.certificate != "" {
		cmd.Env = append(cmd.Env, "PROXY_CERT="+p.certificate, "PROXY_KEY="+p.key, "PROXY_CA="+p.authority, "HOST_CA="+p.roots)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
