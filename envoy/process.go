package envoy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ProcessOptions say how Start runs an Envoy.
type ProcessOptions struct {
	// Binary is the path of Envoy; Find looks for one if it is empty.
	Binary string
	// Config is the path of the bootstrap file, see Bundle.Path.
	Config string
	// Flags are more flags, see GatewayFlags.
	Flags []string
	// Concurrency is the number of worker threads; zero is one per core.
	Concurrency int
	// AccessLog is given every line of Envoy's standard output, without its
	// end. It is called from one goroutine at a time, and Envoy waits for it.
	AccessLog func(line string)
	// Log is given every line of Envoy's standard error, in the same way.
	Log func(line string)
}

// Process is a running Envoy that this process is the parent of. On Linux it
// is killed when its parent dies, however that happens.
type Process struct {
	cmd  *exec.Cmd
	dir  string // for the file that has the admin's address
	done chan struct{}
	err  error // valid once done is closed
	tail *tail

	mu    sync.Mutex
	admin *Admin
	at    string
}

// Start starts an Envoy. It does not wait until it is ready: see Ready. The
// process outlives ctx; Stop ends it.
func Start(ctx context.Context, o ProcessOptions) (*Process, error) {
	if o.Binary == "" {
		found, err := Find(ctx)
		if err != nil {
			return nil, err
		}
		o.Binary = found
	}
	dir, err := os.MkdirTemp("", "sallyport-envoy-")
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	p := &Process{dir: dir, done: make(chan struct{}), tail: &tail{}}
	args := []string{"--config-path", o.Config, "--disable-hot-restart", "--admin-address-path", p.adminFile()}
	if o.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(o.Concurrency))
	}
	p.cmd = exec.Command(o.Binary, append(args, o.Flags...)...)
	p.cmd.SysProcAttr = dieWithParent()
	stdout, stderr := &lines{to: o.AccessLog}, &lines{to: func(line string) {
		p.tail.add(line)
		if o.Log != nil {
			o.Log(line)
		}
	}}
	p.cmd.Stdout, p.cmd.Stderr = stdout, stderr

	started := make(chan error, 1)
	go func() {
		// The kernel takes the death of the thread that started a child for
		// the death of its parent: so this thread stays until the child ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		stdout.flush()
		stderr.flush()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start envoy: %w", err), os.RemoveAll(dir))
	}
	return p, nil
}

func (p *Process) adminFile() string { return filepath.Join(p.dir, "admin") }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when Envoy has ended, its last log line delivered.
func (p *Process) Done() <-chan struct{} { return p.done }

// poll is how often a condition is looked at again.
const poll = 10 * time.Millisecond

// until waits until the condition holds, Envoy ends or the context does. The
// error has the last thing that stood in the way, and Envoy's last log lines.
func (p *Process) until(ctx context.Context, what string, condition func() error) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("envoy ended (%w) before %s; its last words:\n%s", p.exit(), what, p.tail)
		case <-ctx.Done():
			return fmt.Errorf("waiting for envoy until %s: %w: %w; its last words:\n%s", what, ctx.Err(), err, p.tail)
		case <-tick.C:
		}
	}
}

// exit is how Envoy ended.
func (p *Process) exit() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// Admin returns the client of Envoy's admin interface, once that listens. The
// bootstrap must have one.
func (p *Process) Admin(ctx context.Context) (*Admin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.admin != nil {
		return p.admin, nil
	}
	err := p.until(ctx, "its admin interface listens", func() error {
		content, err := os.ReadFile(p.adminFile())
		if err != nil {
			return err
		}
		at := strings.TrimSpace(string(content))
		if at == "" {
			return errors.New("its address is not known yet")
		}
		if filepath.IsAbs(at) {
			at = "unix:" + at
		}
		p.at = at
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.admin = NewAdmin(p.at)
	return p.admin, nil
}

// Ready waits until Envoy is live. A gateway is live once it has its first
// configuration from the control plane.
func (p *Process) Ready(ctx context.Context) error {
	admin, err := p.Admin(ctx)
	if err != nil {
		return err
	}
	return p.until(ctx, "it is live", func() error { return admin.Ready(ctx) })
}

// Listening waits until the listener is there, and returns its address.
func (p *Process) Listening(ctx context.Context, name string) (netip.AddrPort, error) {
	admin, err := p.Admin(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	var address netip.AddrPort
	err = p.until(ctx, fmt.Sprintf("the listener %q is there", name), func() error {
		listeners, err := admin.Listeners(ctx)
		if err != nil {
			return err
		}
		found, ok := listeners[name]
		if !ok {
			return fmt.Errorf("there are only %d others", len(listeners))
		}
		address = found
		return nil
	})
	return address, err
}

// Stop ends Envoy with SIGTERM and, if it has not ended after grace, with
// SIGKILL. It returns when Envoy is gone; an Envoy that has ended before is an
// error that says how.
func (p *Process) Stop(grace time.Duration) error {
	select {
	case <-p.done:
		return errors.Join(fmt.Errorf("envoy had ended before (%w); its last words:\n%s", p.exit(), p.tail), p.clean())
	default:
	}
	// An error means that it ended just now, which Done tells as well.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.clean()
	case <-time.After(grace):
		return p.Kill()
	}
}

// Kill ends Envoy with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	_ = p.cmd.Process.Kill() // it fails if Envoy has ended, which is what is wanted
	<-p.done
	return p.clean()
}

func (p *Process) clean() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.admin != nil {
		p.admin.Close()
	}
	return os.RemoveAll(p.dir)
}
