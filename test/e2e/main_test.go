package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// binary is built once: the tests run what users run. goGet is the client of
// package clients.
var binary, goGet string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// binariesVariable names the directory of what was built, in a second run of
// this test in a network namespace.
const binariesVariable = "SALLYPORT_E2E_BINARIES"

func run(m *testing.M) int {
	dir := os.Getenv(binariesVariable)
	again := dir != ""
	if !again {
		var err error
		if dir, err = os.MkdirTemp("", "sallyport-e2e"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
	}
	binary, goGet = filepath.Join(dir, "sallyport"), filepath.Join(dir, "get")
	if again {
		if err := raiseLoopback(); err != nil {
			fmt.Fprintln(os.Stderr, "raising the loopback interface of a network namespace:", err)
			return 1
		}
		return m.Run()
	}
	for path, of := range map[string]string{binary: "sallyport/cmd/sallyport", goGet: "sallyport/test/e2e/clients"} {
		if out, err := exec.Command("go", "build", "-o", path, of).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", of, err, out)
			return 1
		}
	}
	if whole() {
		return runApart(dir)
	}
	if mayUsePort443() && mayCapture() {
		return m.Run()
	}
	return exitCode(inNamespace(dir, os.Args[1:], os.Stdout))
}

// mayUsePort443 reports whether the pretend internet can be where the policies
// of the examples expect the real one.
func mayUsePort443() bool {
	l, err := net.Listen("tcp", "127.0.1.254:443")
	if err == nil {
		_ = l.Close()
	}
	return !errors.Is(err, fs.ErrPermission)
}

// inNamespace runs this program in a network namespace of its own, in which a user
// who is not root has every port and may look at packets. The tests need nothing but
// loopback.
func inNamespace(binaries string, args []string, out io.Writer) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), binariesVariable+"="+binaries)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	}
	return cmd.Run()
}

// exitCode is what a run in a namespace ends this one with.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		fmt.Fprintf(os.Stderr, "the tests need port 443 of 127.0.1.1, and to look at the packets of loopback: run them as root, or allow "+
			"unprivileged network namespaces (%v)\n", err)
		return 1
	}
}

// raiseLoopback is `ip link set lo up`.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
