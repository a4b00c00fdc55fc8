package bench

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
)

const (
	hostsPerFile   = 100
	hostsPerPolicy = 10
	// maxIncidents is how many files deny a single host; see directory.
	maxIncidents = 50
	// domain is the parent of every host.
	domain = "bench.example"
	// app is the service account that everything is granted to, and nobody one
	// that no workload has.
	app    = "sleep-us"
	nobody = "nobody"
)

// directory is a policy for many hosts, as a company might write it: a file for
// each team, of a hundred hosts in ten policies, and small files of the security
// team's that each deny one host to one service account.
type directory struct {
	hosts int
	// oneFile puts all of it into one file, the gateway aside.
	oneFile bool
	// port is where the hosts listen.
	port uint16
}

func host(i int) string { return fmt.Sprintf("api-%d.partner-%d.%s", i, i/7, domain) }

// incidents is how many hosts have a file of their own.
func (d directory) incidents() int { return min(d.hosts, maxIncidents) }

// incidentHost is the host of incident k: they are spread over all files.
func (d directory) incidentHost(k int) string { return host(k * (d.hosts / d.incidents())) }

// files are the files by name. The incident number denied is in force, if it is
// not negative; the others deny their hosts to nobody.
func (d directory) files(denied int) map[string]string {
	files := make(map[string]string)
	for team := range (d.hosts + hostsPerFile - 1) / hostsPerFile {
		files[fmt.Sprintf("team-%03d.yaml", team)] = d.team(team)
	}
	for k := range d.incidents() {
		name, content := d.incident(k, k == denied)
		files[name] = content
	}
	if d.oneFile {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(files)) {
			all = append(all, files[name])
		}
		return map[string]string{"policies.yaml": strings.Join(all, "---\n")}
	}
	return files
}

// edit is the one file that revokes the host of incident k, or grants it again.
func (d directory) edit(k int, revoke bool) (name, content string) {
	if !d.oneFile {
		return d.incident(k, revoke)
	}
	if !revoke {
		k = -1
	}
	const file = "policies.yaml"
	return file, d.files(k)[file]
}

func (d directory) incident(k int, revoke bool) (name, content string) {
	from := nobody
	if revoke {
		from = app
	}
	return fmt.Sprintf("incident-%03d.yaml", k), fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: incident-%d, namespace: default}
spec:
  owner: security@example.com
  rules:
  - action: Deny
    from: [{serviceAccount: %s}]
    to: [{hosts: [%s]}]
`, k, from, d.incidentHost(k))
}

// addition is a file that grants one more host.
func (d directory) addition(n int) (host, name, content string) {
	host = fmt.Sprintf("new-%d.%s", n, domain)
	return host, fmt.Sprintf("new-%03d.yaml", n), fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: new-%[1]d}
spec: {hosts: [%[2]s], port: %[3]d}
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: new-%[1]d, namespace: default}
spec:
  rules:
  - action: Allow
    from: [{serviceAccount: %[4]s}]
    to: [{hosts: [%[2]s]}]
`, n, host, d.port, app)
}

// team is the file of one team: where its hosts are, and who may go there.
func (d directory) team(n int) string {
	var hosts []string
	for i := n * hostsPerFile; i < min(d.hosts, (n+1)*hostsPerFile); i++ {
		hosts = append(hosts, host(i))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: team-%d}
spec:
  port: %d
  hosts:
%s`, n, d.port, list("  - ", hosts))
	policy := 0
	for some := range slices.Chunk(hosts, hostsPerPolicy) {
		fmt.Fprintf(&b, `---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: team-%d-%d, namespace: default}
spec:
  owner: team-%d@example.com
  reason: what the service needs
  rules:
  - action: Allow
    from: [{serviceAccount: %s}]
    to:
    - hosts:
%s`, n, policy, n, app, list("      - ", some))
		policy++
	}
	return b.String()
}

func list(indent string, items []string) string {
	var b strings.Builder
	for _, item := range items {
		b.WriteString(indent + item + "\n")
	}
	return b.String()
}

// write puts the files into a directory.
func (d directory) write(dir string) error {
	for name, content := range d.files(-1) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// gatewayDocument is an EgressGateway for benchmarks that start no gateway.
func gatewayDocument() string {
	return `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: ` + demo.Group + `}
spec:
  trustDomain: ` + demo.TrustDomain + `
  listeners:
  - {name: tls, address: 127.0.0.1, port: 8443, protocol: TLS}
  dns: {resolvers: ["127.0.0.1:53"]}
`
}

// TestDirectory checks that the directories are what they are said to be.
func TestDirectory(t *testing.T) {
	for _, d := range []directory{
		{hosts: 10, port: 443}, {hosts: 1_000, port: 8443}, {hosts: 130, oneFile: true, port: 443},
	} {
		t.Run(fmt.Sprintf("%+v", d), func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, d.write(dir))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(gatewayDocument()), 0o600))
			load := func() *model.Gateway {
				loaded := (&policy.Loader{}).Load(dir, time.Now())
				require.NoError(t, loaded.Diagnostics.Err())
				return loaded.Model.FindGateway(demo.Group)
			}
			for k := range d.incidents() {
				for _, revoke := range []bool{true, false} {
					if k > 0 && k < d.incidents()-1 {
						continue // the first and the last will do
					}
					name, content := d.edit(k, revoke)
					require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
					g := load()
					require.Len(t, g.Entries, d.hosts)
					for i := range d.hosts {
						denied := revoke && host(i) == d.incidentHost(k)
						require.Equal(t, !denied, allows(g, host(i)), host(i))
					}
				}
			}
			added, name, content := d.addition(7)
			require.False(t, allows(load(), added))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			require.True(t, allows(load(), added))
		})
	}
}

func allows(g *model.Gateway, name string) bool {
	return g.Decide(demo.WorkloadID(app), hostname.Name(name)).Verdict == model.Allow
}
