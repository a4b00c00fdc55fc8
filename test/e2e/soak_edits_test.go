//go:build soak

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sallyport/test/fleet"
)

// churned is how many files the edits keep at most.
const churned = 30

// edit makes an edit a second. Each that changes anything must come to all gateways;
// each that does not must come to none.
func (s *soak) edit(ctx context.Context) {
	type kind struct {
		name string
		// publishes says that the gateways are sent something.
		publishes bool
		do        func(n int)
	}
	kinds := []kind{
		{"grants for new hosts", true, func(n int) {
			s.write(fmt.Sprintf("churn-%d.yaml", n%churned), allow(fmt.Sprintf("churn-%d", n%churned), us,
				fmt.Sprintf("a%d.churn.example", n), fmt.Sprintf("*.w%d.churn.example", n)))
		}},
		{"a file of many hosts", true, func(n int) {
			var hosts []string
			for i := range 20 {
				hosts = append(hosts, fmt.Sprintf("m%d.n%d.churn.example", i, n))
			}
			s.write("many.yaml", allow("many", canada, hosts...))
		}},
		{"a Deny rule for others on kept hosts", true, func(n int) {
			s.write("deny.yaml", egressPolicy("deny", "Deny", fmt.Sprintf("sa-%d", n), keptHost(1), keptHost(7), "*.churn.example"))
		}},
		{"a ConfigMap is swapped", true, func(n int) { s.swap(n) }},
		{"a slow write", true, func(n int) { s.writeSlowly(n) }},
		{"a Destination and its grant", true, func(n int) {
			s.write("destination.yaml", s.Destination("other", "", fmt.Sprintf("*.d%d.example", n))+"---\n"+
				allow("other", us, fmt.Sprintf("x.d%d.example", n)))
		}},
		{"a comment", false, func(n int) {
			s.write("canada.yaml", fmt.Sprintf("# edit %d\n", n)+allow("canada", canadaAccount, keptHost(0), keptHost(1)))
		}},
		{"a rename", false, func(n int) {
			from, to := "kept-5.yaml", "moved-5.yaml"
			if _, err := os.Stat(filepath.Join(s.Policies, from)); err != nil {
				from, to = to, from
			}
			if err := os.Rename(filepath.Join(s.Policies, from), filepath.Join(s.Policies, to)); err != nil {
				s.report.fail("edit %d: %v", n, err)
			}
		}},
	}
	every(ctx, time.Second, func(n int) {
		switch {
		case n%12 == 5:
			s.revocation(n)
			s.report.edits(2)
			s.fleet.agree(convergesWithin, "")
			return
		case n%12 == 9:
			s.broken(n)
			s.report.edits(2)
			return
		}
		k := kinds[s.random.IntN(len(kinds))]
		before := s.fleet.version()
		s.fleet.begin()
		k.do(n)
		s.report.edits(1)
		s.report.count("edits: " + k.name)
		if !k.publishes {
			time.Sleep(300 * time.Millisecond)
			if v := s.fleet.version(); v != before {
				s.report.fail("edit %d, %s, was sent to gateways", n, k.name)
			}
			return
		}
		if !s.fleet.agree(convergesWithin, before) {
			s.report.fail("edit %d, %s, is not at all gateways after %s: %s", n, k.name, convergesWithin, s.fleet.where())
		}
	})
}

const canadaAccount = canada

// broken puts a file there that is refused, and takes it away.
func (s *soak) broken(n int) {
	before := s.fleet.version()
	s.write("broken.yaml", fmt.Sprintf("kind: Nonsense # %d\n", n))
	until := func(what string, is func(errors float64) bool) {
		for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			m, err := s.metrics()
			if err == nil && is(m["sallyport_directory_errors"]) {
				return
			}
			if time.Since(began) > convergesWithin {
				s.report.fail("edit %d: %s", n, what)
				return
			}
		}
	}
	until("a broken file is not refused", func(errors float64) bool { return errors > 0 })
	if err := s.Remove("broken.yaml"); err != nil {
		s.report.fail("edit %d: %v", n, err)
	}
	until("the directory is good, and refused", func(errors float64) bool { return errors == 0 })
	if v := s.fleet.version(); v != before {
		s.report.fail("edit %d: a broken file was sent to gateways", n)
	}
	s.report.count("edits: a broken file")
}

// swap turns a mounted ConfigMap, as kubelet does.
func (s *soak) swap(n int) {
	mount := filepath.Join(s.Policies, "mounted")
	generation := fmt.Sprintf("..%d", n)
	old, _ := os.Readlink(filepath.Join(mount, "..data"))
	var errs []error
	for _, name := range []string{"a", "b"} {
		errs = append(errs, fleet.WriteFile(filepath.Join(mount, generation), name+".yaml", allow("mounted-"+name, us, fmt.Sprintf("%s%d.churn.example", name, n))))
		if _, err := os.Lstat(filepath.Join(mount, name+".yaml")); err != nil {
			errs = append(errs, os.Symlink("..data/"+name+".yaml", filepath.Join(mount, name+".yaml")))
		}
	}
	errs = append(errs, os.Symlink(generation, filepath.Join(mount, "..tmp")), os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data")))
	if old != "" {
		errs = append(errs, os.RemoveAll(filepath.Join(mount, old)))
	}
	for _, err := range errs {
		if err != nil {
			s.report.fail("edit %d: %v", n, err)
		}
	}
}

func (s *soak) writeSlowly(n int) {
	f, err := os.Create(filepath.Join(s.Policies, "slow.yaml"))
	if err != nil {
		s.report.fail("edit %d: %v", n, err)
		return
	}
	for line := range strings.Lines(allow("slow", us, fmt.Sprintf("s%d.churn.example", n))) {
		_, _ = f.WriteString(line) // Close says so
		time.Sleep(15 * time.Millisecond)
	}
	if err := f.Close(); err != nil {
		s.report.fail("edit %d: %v", n, err)
	}
}

func (s *soak) addressesOfGateway() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
}

// replaceAll replaces each word, all of which must be there.
func replaceAll(text string, words map[string]string) string {
	for from, to := range words {
		if !strings.Contains(text, from) {
			panic("soak: the document has no " + from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

func withoutLine(text, with string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, with) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
