package fleet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/pkg/svid"
)

// Build builds the sallyport binary into a directory and returns its path: what
// is tested is what users run.
func Build(dir string) (string, error) {
	binary := dir + "/sallyport"
	if out, err := exec.Command("go", "build", "-o", binary, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sallyport: %w\n%s", err, out)
	}
	return binary, nil
}

// ServeOptions describe a ControlPlane.
type ServeOptions struct {
	// Binary is what Build returned.
	Binary string
	// Policies is the directory that is served.
	Policies string
	// XDS is where to listen; a free port of 127.0.0.1 if empty.
	XDS string
	// Own is the control plane's certificate.
	Own svid.Paths
	// Flags are more flags.
	Flags []string
}

// ControlPlane is a running `sallyport serve`. Use Serve.
type ControlPlane struct {
	cmd       *exec.Cmd
	xds, http netip.AddrPort
	scheme    string
	done      chan struct{}

	mu  sync.Mutex
	log []string
}

// keptLines is how much of the log is remembered.
const keptLines = 2000

// Serve starts a control plane, and returns when it listens.
func Serve(o ServeOptions) (*ControlPlane, error) {
	if o.XDS == "" {
		o.XDS = "127.0.0.1:0"
	}
	p := &ControlPlane{done: make(chan struct{})}
	p.cmd = exec.Command(o.Binary, append([]string{
		"serve", "--policies", o.Policies, "--xds", o.XDS, "--http", "127.0.0.1:0", "--log-format", "json",
		"--certificate", o.Own.Certificate, "--key", o.Own.Key, "--ca", o.Own.Authorities,
	}, o.Flags...)...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	started := make(chan error, 1)
	listening := make(chan struct{})
	go func() {
		// The kernel takes the death of the thread that started a child for the
		// death of its parent: so this thread stays until the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.read(stderr, listening)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	const patience = 30 * time.Second
	select {
	case <-listening:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("sallyport serve ended: %s", p.Log())
	case <-time.After(patience):
		p.Kill()
		return nil, fmt.Errorf("sallyport serve does not say where it listens: %s", p.Log())
	}
}

func (p *ControlPlane) read(stderr io.Reader, listening chan struct{}) {
	defer close(p.done)
	where := regexp.MustCompile(`xDS: (\S+), status: (https?)://([^/]+)/`)
	scanner := bufio.NewScanner(stderr)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		p.mu.Lock()
		if p.log = append(p.log, line); len(p.log) > 2*keptLines {
			p.log = append([]string(nil), p.log[keptLines:]...)
		}
		p.mu.Unlock()
		if m := where.FindStringSubmatch(line); m != nil && !p.xds.IsValid() {
			p.xds, p.http = netip.MustParseAddrPort(m[1]), netip.MustParseAddrPort(m[3])
			p.scheme = m[2]
			close(listening)
		}
	}
	_ = p.cmd.Wait() // how it ended is not what is tested
}

// XDS is where it listens for gateways.
func (p *ControlPlane) XDS() netip.AddrPort { return p.xds }

// HTTP is where its status and metrics are.
func (p *ControlPlane) HTTP() netip.AddrPort { return p.http }

// Base is the address of its page.
func (p *ControlPlane) Base() string { return p.scheme + "://" + p.http.String() }

// PID is its process id.
func (p *ControlPlane) PID() int { return p.cmd.Process.Pid }

// Log is what it logged last.
func (p *ControlPlane) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "\n")
}

// Signal sends a signal.
func (p *ControlPlane) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends it without a warning.
func (p *ControlPlane) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.done
}

// Stop ends it as an operator would.
func (p *ControlPlane) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	const patience = 15 * time.Second
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("sallyport serve did not end within %s of SIGTERM", patience)
	}
}

// Done is closed when it has ended.
func (p *ControlPlane) Done() <-chan struct{} { return p.done }

// Get fetches a page of its HTTP side.
func (p *ControlPlane) Get(path string) (string, error) {
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Get("http://" + p.http.String() + path)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", path, response.Status, body)
	}
	return string(body), nil
}

// Metrics are the samples of its metrics page, by their names with labels, as
// `sallyport_gateways{group="egress"}`.
func (p *ControlPlane) Metrics() (map[string]float64, error) {
	page, err := p.Get("/metrics")
	if err != nil {
		return nil, err
	}
	return Samples(page)
}

// Samples are those of a metrics page, by their names with labels.
func Samples(page string) (map[string]float64, error) {
	out := make(map[string]float64)
	for line := range strings.Lines(page) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		var err error
		if out[name], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("/metrics: %w", err)
		}
	}
	return out, nil
}
