package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// whole reports whether all tests are asked for, and nothing is that two processes
// could not write at once.
func whole() bool {
	flag.Parse()
	for _, name := range []string{"run", "skip", "list", "bench", "fuzz", "failfast", "coverprofile", "cpuprofile", "memprofile", "blockprofile", "mutexprofile", "trace"} {
		if f := flag.Lookup("test." + name); f != nil && f.Value.String() != f.DefValue {
			return false
		}
	}
	return true
}

// runApart runs each test in a process and a network namespace of its own, several at
// once: they mostly wait, and one after another they take eleven minutes on two cores. What a test
// wrote is shown when it ends, so that the tests' output is not mixed.
func runApart(binaries string) int {
	var listed bytes.Buffer
	err := inNamespace(binaries, []string{"-test.list=."}, &listed)
	if err != nil {
		fmt.Fprint(os.Stderr, listed.String())
		return exitCode(err)
	}
	var tests []string
	for name := range strings.Lines(listed.String()) {
		name = strings.TrimSpace(name)
		if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example") {
			tests = append(tests, name)
		}
	}
	if len(tests) == 0 {
		fmt.Fprintln(os.Stderr, "there are no tests")
		return 1
	}
	queue := make(chan string, len(tests))
	for _, test := range slices.Backward(tests) { // the longest is near the end, and should not be the last to begin
		queue <- test
	}
	close(queue)
	var (
		shown  sync.Mutex
		failed bool
		wg     sync.WaitGroup
	)
	for range runtime.NumCPU() + 1 {
		wg.Go(func() {
			for test := range queue {
				var out bytes.Buffer
				err := inNamespace(binaries, append(passedOn(), "-test.run=^"+test+"$"), &out)
				shown.Lock()
				_, _ = os.Stdout.Write(withoutVerdict(out.Bytes())) // there is nobody to tell
				if err != nil {
					failed = true
					if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
						fmt.Fprintf(os.Stderr, "%s could not be run: %v\n", test, err)
					}
				}
				shown.Unlock()
			}
		})
	}
	wg.Wait()
	marker := ""
	if flag.Lookup("test.v").Value.String() == "test2json" {
		marker = testMarker
	}
	if failed {
		fmt.Println(marker + "FAIL")
		return 1
	}
	fmt.Println(marker + "PASS")
	return 0
}

// testMarker begins the lines that package testing writes for `go tool test2json`.
const testMarker = "\x16"

// passedOn are the flags of this run but for what `go test` itself writes.
func passedOn() []string {
	var out []string
	for _, arg := range os.Args[1:] {
		if !strings.HasPrefix(arg, "-test.testlogfile") {
			out = append(out, arg)
		}
	}
	return out
}

// withoutVerdict is the output of a run without its last line, which is about all of
// the tests.
func withoutVerdict(out []byte) []byte {
	for _, verdict := range []string{"PASS\n", "FAIL\n"} {
		if rest, ok := bytes.CutSuffix(out, []byte(verdict)); ok {
			return bytes.TrimSuffix(rest, []byte(testMarker))
		}
	}
	return out
}
