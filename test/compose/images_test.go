package compose_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

// baseImages makes the images that the files start from, under the names that the
// files have for them.
func (e *engine) baseImages(t *testing.T, root string) {
	t.Helper()
	dir := t.TempDir()
	names := bases(t, root)
	rootfs := filepath.Join(dir, "debian.tar")
	run(t, exec.CommandContext(t.Context(), "mmdebstrap", "--quiet", "--variant=apt", "--include=ca-certificates,curl", "bookworm", rootfs))
	e.docker("import", rootfs, names["DEBIAN_IMAGE"])
	require.NoError(t, os.Remove(rootfs))

	binary, err := envoy.Find(t.Context())
	require.NoError(t, err)
	e.image(t, names["ENVOY_IMAGE"], map[string]string{"envoy": binary}, "FROM "+names["DEBIAN_IMAGE"]+"\nCOPY envoy /usr/local/bin/envoy\n")

	goroot := strings.TrimSpace(run(t, exec.CommandContext(t.Context(), "go", "env", "GOROOT")))
	e.image(t, names["GO_IMAGE"], map[string]string{"go": goroot, "mod": modules(t, root, dir)}, "FROM "+names["DEBIAN_IMAGE"]+`
COPY go /usr/local/go
COPY mod /go/pkg/mod
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOPROXY=off GOTOOLCHAIN=local
`)

	compose, err := os.ReadFile(filepath.Join(root, "docker-compose.yaml"))
	require.NoError(t, err)
	prometheus := regexp.MustCompile(`image: (prom/prometheus:\S+)`).FindSubmatch(compose)
	require.NotNil(t, prometheus)
	program, err := exec.LookPath("prometheus")
	require.NoError(t, err)
	e.image(t, string(prometheus[1]), map[string]string{"prometheus": program}, "FROM "+names["DEBIAN_IMAGE"]+`
COPY prometheus /bin/prometheus
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]
`)
}

// bases are the defaults of the Dockerfile's arguments.
func bases(t *testing.T, root string) map[string]string {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(root, "envoy", "Dockerfile"))
	require.NoError(t, err)
	out := make(map[string]string)
	for _, found := range regexp.MustCompile(`(?m)^ARG (\w+)=(\S+)$`).FindAllSubmatch(file, -1) {
		out[string(found[1])] = string(found[2])
	}
	require.Len(t, out, 3)
	// Another Envoy than the one that is tested is not what users should get.
	require.Equal(t, "envoyproxy/envoy:v"+envoy.BuiltFor, out["ENVOY_IMAGE"])
	return out
}

// modules is a module cache with what go.mod needs, and no more.
func modules(t *testing.T, root, dir string) string {
	t.Helper()
	cache := strings.TrimSpace(run(t, exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE")))
	proxy := strings.TrimSpace(run(t, exec.CommandContext(t.Context(), "go", "env", "GOPROXY")))
	out := filepath.Join(dir, "mod")
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOMODCACHE="+out, "GOFLAGS=-modcacherw",
		"GOPROXY=file://"+filepath.Join(cache, "cache", "download")+","+proxy)
	run(t, cmd)
	return out
}

// image builds an image of files, or directories, and a Dockerfile's text.
func (e *engine) image(t *testing.T, name string, files map[string]string, text string) {
	t.Helper()
	dir := t.TempDir()
	for to, from := range files {
		from, err := filepath.EvalSymlinks(from)
		require.NoError(t, err)
		run(t, exec.CommandContext(t.Context(), "cp", "-a", "--reflink=auto", from, filepath.Join(dir, to)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600))
	e.docker("build", "--quiet", "--tag", name, dir)
}

// run runs a command to its end, and returns what it prints.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var errs strings.Builder
	cmd.Stderr = io.Writer(&errs)
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", cmd, errs.String())
	return string(out)
}
