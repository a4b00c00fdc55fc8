package compose_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// enforcing and learning are the gateways' mode before, and while it is learnt who
	// needs what: nothing is refused then.
	enforcing = "  outbound: RegistryOnly\n"
	learning  = enforcing + "  mode: Audit\n"
)

// both asks both replicas, each of which has the flows of the gateways at it.
func both(args ...string) []string {
	return append([]string{"sallyport"}, append(args, "--server", "http://control-plane-1:8080", "--server", "http://control-plane-2:8080")...)
}

// testLearn begins without any policy, has workloads do their work, makes a policy of
// what was seen, and enforces it: that is allowed, and nothing else.
func (s *stack) testLearn(t *testing.T) {
	gateway, policy := s.policyFile("gateway.yaml"), s.policies()
	written, err := os.ReadFile(policy)
	require.NoError(t, err)
	require.NoError(t, os.Remove(policy))
	s.editFile(gateway, enforcing, learning)
	s.inForce(2)
	began := time.Now().UTC()

	needed := map[string][]string{
		"sleep-us":     {"de.wikipedia.org", "www.google.com"},
		"sleep-canada": {"en.wikipedia.org", "fr.wikipedia.org"},
	}
	for workload, hosts := range needed {
		for _, host := range hosts {
			for range 3 { // by way of either gateway
				out, err := s.curl(workload, host)
				require.NoError(t, err, "%s to %s is refused while it is learnt: %s", workload, host, out)
			}
		}
	}
	// The flows are there a moment later.
	wanted := regexp.MustCompile(`(?s)sleep-canada.*en\.wikipedia\.org.*fr\.wikipedia\.org.*sleep-us.*de\.wikipedia\.org.*www\.google\.com`)
	var observed string
	s.eventually("a policy of all that was seen", func() string {
		out, err := s.exec("control-plane-1", both("suggest", "--policies", "/etc/sallyport/policies", "--since", began.Format(time.RFC3339))...)
		if err != nil || !wanted.MatchString(out) {
			return out
		}
		observed = out
		return ""
	})
	t.Logf("suggested:\n%s", observed)
	require.NoError(t, os.WriteFile(s.policyFile("observed.yaml"), []byte(observed), 0o644))
	out, err := s.exec("control-plane-1", "sallyport", "validate", "/etc/sallyport/policies")
	require.NoError(t, err, out)
	s.editFile(gateway, learning, enforcing)
	s.inForce(2)

	for workload, hosts := range needed {
		for _, host := range []string{"en.wikipedia.org", "de.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org", "www.google.com"} {
			for range 2 {
				out, err := s.curl(workload, host)
				require.Equal(t, slices.Contains(hosts, host), err == nil, "%s to %s: %s", workload, host, out)
			}
		}
	}
	require.NoError(t, os.Remove(s.policyFile("observed.yaml")))
	require.NoError(t, os.WriteFile(policy, written, 0o644))
	s.inForce(2)
}

// testFlowsOfBoth has both replicas say who went where, each of its gateways'.
func (s *stack) testFlowsOfBoth(t *testing.T) {
	s.eventually("allowed and refused connections of both workloads", func() string {
		out, err := s.exec("control-plane-2", both("flows", "-o", "json", "--limit", "100000")...)
		require.NoError(t, err, out)
		for _, want := range []string{
			`"connectionEvent":"close","requestedServerName":"en.wikipedia.org".*"sourceWorkload":"sleep-us","verdict":"Allow"`,
			`"connectionEvent":"refused","requestedServerName":"de.wikipedia.org".*"sourceWorkload":"sleep-us","verdict":"Deny","reason":"deny-rule"`,
			`"connectionEvent":"close","requestedServerName":"fr.wikipedia.org".*"sourceWorkload":"sleep-canada","verdict":"Allow"`,
		} {
			if !regexp.MustCompile(want).MatchString(out) {
				return want + " is not in\n" + out
			}
		}
		return ""
	})
	// They outlive the process: each replica has a database of its own.
	before, err := s.exec("control-plane-1", both("flows", "--aggregate", "-o", "json")...)
	require.NoError(t, err, before)
	s.mustCompose("restart", "control-plane-1", "control-plane-2")
	s.healthy()
	s.inForce(2)
	after, err := s.exec("control-plane-1", both("flows", "--aggregate", "-o", "json")...)
	require.NoError(t, err, after)
	require.JSONEq(t, before, after)
}

func (s *stack) policyFile(name string) string {
	return filepath.Join(filepath.Dir(s.policies()), name)
}

// editFile replaces text in a file, as sed -i does: by a new file and a rename.
func (s *stack) editFile(path, from, to string) {
	s.t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(s.t, err)
	require.Contains(s.t, string(content), from)
	temporary := filepath.Join(filepath.Dir(path), "sedAbCdEf")
	require.NoError(s.t, os.WriteFile(temporary, []byte(strings.ReplaceAll(string(content), from, to)), 0o644))
	require.NoError(s.t, os.Rename(temporary, path))
}
