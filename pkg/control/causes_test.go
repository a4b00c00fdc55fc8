package control_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

const rejectedPolicy = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: proxy, port: 15080, protocol: HTTP}
  certificates: {certificate: /tls/tls.crt, key: /tls/tls.key, ca: /tls/ca.crt, roots: /tls/roots.pem}
  accessLog: {path: /var/log/access.log}
`

const rejectedTeam = `apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: partner}
spec:
  hosts: [partner.example.com]
  tls: Originate
  originate: {roots: /tls/partner.pem}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: fixed}
spec:
  hosts: [fixed.example.com]
  resolve: {addresses: [93.184.216.34]}
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: team, namespace: default}
spec:
  rules:
  - action: Allow
    from: [{serviceAccount: app}]
    to: [{hosts: [en.wikipedia.org, "*.example.com"]}]
  - action: Deny
    to: [{hosts: [bad.example.com]}]
`

func rejectedGateway(t *testing.T) *model.Gateway {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(rejectedPolicy), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "team.yaml"), []byte(rejectedTeam), 0o600))
	var l policy.Loader
	r := l.Load(dir, time.Now())
	require.NoError(t, r.Diagnostics.Err())
	return r.Model.FindGateway("egress")
}

// resourceWith is the name of a resource that is about a host.
func resourceWith(t *testing.T, g *model.Gateway, kind, host string) string {
	t.Helper()
	res, err := translate.New().Translate(g)
	require.NoError(t, err)
	for _, list := range [][]translate.Resource{res.Listeners, res.Clusters, res.Secrets} {
		for _, r := range list {
			if !strings.HasPrefix(r.Name, kind+"/") {
				continue
			}
			for _, e := range translate.SourceOf(g, r.Name).Entries {
				if e.Pattern.String() == host {
					return r.Name
				}
			}
		}
	}
	require.Fail(t, "no such resource", "%s %s", kind, host)
	return ""
}

func TestCauses(t *testing.T) {
	t.Parallel()
	g := rejectedGateway(t)
	english := resourceWith(t, g, "policy", "en.wikipedia.org")
	bad := resourceWith(t, g, "policy", "bad.example.com")
	chain := "en.wikipedia.org|ns[default]-policy[team]-rule[0]|spiffe://cluster.local/ns/default/sa/app"
	for name, tt := range map[string]struct {
		resource, reason string
		want             []string
	}{
		"a filter chain": {
			english, "error adding listener: filter chain '" + chain + "' is odd",
			[]string{"team.yaml:21:5: rule ns[default]-policy[team]-rule[0], about en.wikipedia.org"},
		},
		"a rule, twice": {
			bad, "rbac policy ns[default]-policy[team]-rule[1] is odd; ns[default]-policy[team]-rule[1]",
			[]string{"team.yaml:24:5: rule ns[default]-policy[team]-rule[1]"},
		},
		"a rule that is gone": {
			bad, "rbac policy ns[default]-policy[other]-rule[7] is odd",
			[]string{"rule ns[default]-policy[other]-rule[7], which the policy in force has no longer"},
		},
		"the default action": {
			english, "filter chain 'en.wikipedia.org|default-action|*' is odd",
			[]string{"gateway.yaml:2:7: defaultAction of EgressGateway egress, about en.wikipedia.org"},
		},
		"a listener of one bucket":     {english, english + ": it is odd", []string{"team.yaml:21:5: it is about en.wikipedia.org"}},
		"the cluster that leads to it": {english, "no", []string{"team.yaml:21:5: it is about en.wikipedia.org"}},
		"an entry":                     {"entry/mtls", "cannot bind '0.0.0.0:15443': Address already in use", []string{"gateway.yaml:2:7: listener mtls of EgressGateway egress"}},
		"an entry that is gone":        {"entry/old", "cannot bind", []string{"gateway.yaml:2:7: EgressGateway egress"}},
		"the route":                    {"route", "it is odd", []string{"gateway.yaml:2:7: EgressGateway egress"}},
		"the log":                      {"route", "unable to open file '/var/log/access.log': No such file", []string{"gateway.yaml:2:7: spec.accessLog of EgressGateway egress: /var/log/access.log"}},
		"not the log":                  {"route", "unable to open file '/var/log/access.log.old'", []string{"gateway.yaml:2:7: EgressGateway egress"}},
		"the certificate":              {"gateway", "Invalid path: /tls/tls.crt.", []string{"gateway.yaml:2:7: spec.certificates.certificate of EgressGateway egress: /tls/tls.crt"}},
		"a destination's roots": {
			resourceWith(t, g, "roots", "partner.example.com"), "Invalid path: /tls/partner.pem",
			[]string{"team.yaml:5:11: Destination partner, about partner.example.com, which trusts /tls/partner.pem"},
		},
		"a destination's roots, without a path": {
			resourceWith(t, g, "roots", "partner.example.com"), "no", []string{"team.yaml:5:11: it is about partner.example.com"},
		},
		"a way out with TLS":       {resourceWith(t, g, "originate", "partner.example.com"), "no", []string{"team.yaml:5:11: it is about partner.example.com"}},
		"addresses":                {resourceWith(t, g, "static", "fixed.example.com"), "no", []string{"team.yaml:13:11: it is about fixed.example.com"}},
		"a stage behind one's own": {resourceWith(t, g, "originated", "partner.example.com"), "no", []string{"team.yaml:5:11: it is about partner.example.com"}},
		"a host": {
			"http", "Duplicate entry of domain partner.example.com in route http",
			[]string{"team.yaml:5:11: Destination partner, about partner.example.com"},
		},
		"nothing that is known": {"nonsense/17", "\x00\xff|||ns[]-policy[", []string{"gateway.yaml:2:7: EgressGateway egress"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := control.Causes(g, server.Rejection{Type: "listener", Resources: []server.RejectedResource{{Name: tt.resource, Reason: tt.reason}}})
			lines := make([]string, len(got))
			for i, c := range got {
				lines[i] = c.String()
				require.Equal(t, tt.resource, c.Resource)
			}
			require.Equal(t, tt.want, lines)
		})
	}
}

// What is named comes before what a resource was made from, and nothing comes twice.
func TestCausesOfSeveral(t *testing.T) {
	t.Parallel()
	g := rejectedGateway(t)
	got := control.Causes(g, server.Rejection{Type: "listener", Resources: []server.RejectedResource{
		{Name: "route", Reason: "no"}, {Name: "entry/mtls", Reason: "/var/log/access.log"}, {Name: "entry/proxy", Reason: "/var/log/access.log"},
	}})
	at := diag.Position{File: "gateway.yaml", Line: 2, Column: 7}
	require.Equal(t, []server.Cause{
		{Resource: "entry/mtls", Position: at, What: "spec.accessLog of EgressGateway egress: /var/log/access.log"},
		{Resource: "route", Position: at, What: "EgressGateway egress"},
	}, got)
}

// A group is explained by what it is served, also when no document describes it any
// more.
func TestCausesFollowThePolicy(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		ask := func(group string) []server.Cause {
			return p.Served(group)(server.Rejection{Resources: []server.RejectedResource{{Name: "a.example", Reason: "no"}}})
		}
		require.Empty(t, ask("east"))
		p.becomes(good("1", gateway(t, "east", "a.example=x"), gateway(t, "west", "a.example=x")))
		require.Equal(t, "east.yaml:1:1: EgressGateway east", ask("east")[0].String())
		moved := gateway(t, "west", "a.example=x")
		moved.Origin.Line = 7
		p.becomes(good("2", moved))
		require.Equal(t, "east.yaml:1:1: EgressGateway east", ask("east")[0].String())
		require.Equal(t, "west.yaml:7:1: EgressGateway west", ask("west")[0].String(), "although nothing was published")
	})
}
