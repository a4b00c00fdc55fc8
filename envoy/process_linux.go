package envoy

import "syscall"

// dieWithParent has the kernel kill the child when this process dies. The child
// has a process group of its own: Ctrl-C is for the parent, which then stops it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
