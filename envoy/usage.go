package envoy

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used.
type Usage struct {
	// RSS is the memory it holds now, in bytes.
	RSS uint64
	// CPU is the processor time of all its threads since its start.
	CPU time.Duration
}

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage reads what Envoy has used from /proc (Linux only).
func (p *Process) Usage() (Usage, error) { return UsageOf(p.PID()) }

// UsageOf reads what a process has used from /proc (Linux only).
func UsageOf(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("resource usage: %w", err)
	}
	// proc(5): the second field is a name in parentheses that may hold spaces;
	// utime, stime and rss are the fields 14, 15 and 24.
	name := strings.LastIndexByte(string(stat), ')')
	fields := strings.Fields(string(stat[name+1:]))
	if name < 0 || len(fields) < 22 {
		return Usage{}, fmt.Errorf("resource usage: /proc/%d/stat is not understood: %q", pid, stat)
	}
	var numbers [3]uint64
	for i, field := range []int{14, 15, 24} {
		if numbers[i], err = strconv.ParseUint(fields[field-3], 10, 64); err != nil {
			return Usage{}, fmt.Errorf("resource usage: /proc/%d/stat: %w", pid, err)
		}
	}
	return Usage{
		CPU: time.Duration(numbers[0]+numbers[1]) * clockTick,
		RSS: numbers[2] * uint64(os.Getpagesize()),
	}, nil
}
