package suggest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

const sleepUS = "spiffe://cluster.local/ns/default/sa/sleep-us"

const gatewayFile = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: proxy, port: 15080, protocol: HTTP}
`

// policyFile is a policy of namespace default with one rule.
func policyFile(name, rule string) string {
	return "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: " + name + ", namespace: default}\nspec:\n  rules:\n  - " + rule + "\n"
}

func inForce(t *testing.T, files map[string]string) InForce {
	t.Helper()
	all := []source.File{{Path: "gateway.yaml", Data: []byte(gatewayFile)}}
	for path, text := range files {
		all = append(all, source.File{Path: path, Data: []byte(text)})
	}
	r := policy.LoadTree(source.NewTree(all), time.Now())
	require.NotNil(t, r.Model, r.Diagnostics)
	return InForce{Model: r.Model, Tree: r.Tree, Documents: r.Documents}
}

func asks(host string) Request { return Request{Gateway: "egress", Principal: sleepUS, Host: host} }

func allowing(t *testing.T, in InForce, r Request) *Allowing {
	t.Helper()
	a, err := Allow(r, in, time.Now())
	require.NoError(t, err)
	return a
}

func TestAllow(t *testing.T) {
	in := inForce(t, map[string]string{
		"a.yaml": policyFile("others", `{action: Allow, from: [{serviceAccount: other}], to: [{hosts: [en.wikipedia.org]}]}`) + "---\n" +
			policyFile("more", `{action: Allow, from: [{serviceAccount: other}], to: [{hosts: [es.wikipedia.org]}]}`),
		"us.yaml": policyFile("us", `{action: Allow, from: [{serviceAccount: sleep-us}], to: [{hosts: [en.wikipedia.org]}]}`),
	})
	a := allowing(t, in, asks("FR.wikipedia.org"))
	require.Equal(t, model.NotRegistered, a.Before.Reason)
	require.Equal(t, `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata:
  name: sleep-us-fr-wikipedia-org
  namespace: default
spec:
  rules:
  - action: Allow
    from:
    - serviceAccount: sleep-us
    to:
    - hosts:
      - fr.wikipedia.org
`, a.Text)
	require.Equal(t, "us.yaml", a.Place, "where the workload is spoken of already")
	require.False(t, a.New)
	require.Empty(t, a.Findings)
	require.Equal(t, model.Allow, a.After.Verdict)
	require.Equal(t, a.By, a.After.Rule)
	require.Equal(t, "us.yaml:15:5", a.By.Origin.String(), "behind what is there")
	require.True(t, a.Alone, a.Changes)
	require.Contains(t, a.Changes, "fr.wikipedia.org")

	allowed := allowing(t, in, asks("en.wikipedia.org"))
	require.Equal(t, model.Allow, allowed.Before.Verdict)
	require.Empty(t, allowed.Text, "nothing is to be written")
}

// Where an Allow rule is not enough, or not permitted, that is said.
func TestAllowIsNotEnough(t *testing.T) {
	us := policyFile("us", `{action: Allow, from: [{serviceAccount: sleep-us}], to: [{hosts: [en.wikipedia.org]}]}`)
	t.Run("a Deny rule", func(t *testing.T) {
		a := allowing(t, inForce(t, map[string]string{"us.yaml": us, "deny.yaml": policyFile("never", `{action: Deny, to: [{hosts: ["*.bad.example"]}]}`)}), asks("very.bad.example"))
		require.Empty(t, a.Findings)
		require.Equal(t, model.DenyRule, a.After.Reason)
		require.Equal(t, "deny.yaml", a.After.Rule.Origin.File)
		require.NotEqual(t, a.By, a.After.Rule)
	})
	t.Run("a Destination of others", func(t *testing.T) {
		a := allowing(t, inForce(t, map[string]string{"us.yaml": us, "d.yaml": "apiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: d}\nspec: {hosts: [theirs.example], exportTo: [other]}\n"}), asks("theirs.example"))
		require.Equal(t, model.NotExported, a.After.Reason)
		require.Equal(t, "d.yaml", a.After.Entry.RegisteredAt.File)
	})
	t.Run("a Delegation", func(t *testing.T) {
		in := inForce(t, map[string]string{
			"delegation.yaml": "apiVersion: sallyport.dev/v1\nkind: Delegation\nmetadata: {name: team}\nspec: {folder: teams/us, namespaces: [default], hosts: [\"*.wikipedia.org\"]}\n",
			"teams/us/p.yaml": us,
		})
		a := allowing(t, in, asks("www.google.com"))
		require.Equal(t, "teams/us/p.yaml", a.Place)
		require.NotEmpty(t, a.Findings)
		require.Equal(t, "teams/us/p.yaml", a.Findings[0].Pos.File)
		require.Equal(t, model.Deny, a.After.Verdict)
		require.Equal(t, model.Allow, allowing(t, in, asks("fr.wikipedia.org")).After.Verdict)
	})
	t.Run("a new folder of a Delegation", func(t *testing.T) {
		in := inForce(t, map[string]string{
			"delegation.yaml": "apiVersion: sallyport.dev/v1\nkind: Delegation\nmetadata: {name: team}\nspec: {folder: teams/us, namespaces: [default]}\n",
		})
		a := allowing(t, in, asks("www.google.com"))
		require.True(t, a.New)
		require.Equal(t, "teams/us/sleep-us-www-google-com.yaml", a.Place)
		require.Equal(t, model.Allow, a.After.Verdict)
	})
	t.Run("a failing test", func(t *testing.T) {
		a := allowing(t, inForce(t, map[string]string{"us.yaml": us + "  tests:\n  - {from: {serviceAccount: sleep-us}, host: www.google.com, expect: Deny}\n"}), asks("www.google.com"))
		require.NotEmpty(t, a.Findings)
		require.Equal(t, "us.yaml", a.Findings[0].Pos.File)
	})
	t.Run("plain HTTP", func(t *testing.T) {
		r := asks("www.google.com")
		r.Way = model.WayHTTP
		require.Equal(t, model.NotOriginated, allowing(t, inForce(t, map[string]string{"us.yaml": us}), r).After.Reason)
		r.Way, r.Host = model.WayConnect, "www.google.com:8443"
		require.Equal(t, model.PortNotAllowed, allowing(t, inForce(t, map[string]string{"us.yaml": us}), r).After.Reason)
		r.Host = "www.google.com:443"
		require.Equal(t, model.Allow, allowing(t, inForce(t, map[string]string{"us.yaml": us}), r).After.Verdict)
	})
}

// A rule that opens more than what was asked for is not shown as if it did not.
func TestAllowSaysWhatElseChanges(t *testing.T) {
	in := inForce(t, map[string]string{"all.yaml": `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: istio-system}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/other]}}]
`})
	a := allowing(t, in, asks("new.example"))
	require.Equal(t, model.Allow, a.After.Verdict)
	require.False(t, a.Alone, "the host becomes known, and Istio's rule is about it, too")
	require.Contains(t, a.Changes, "/sa/other")
}

// Whatever comes from the network, it cannot say more than one workload and one host.
func TestAllowTakesNothingElse(t *testing.T) {
	in := inForce(t, map[string]string{"us.yaml": policyFile("us", `{action: Allow, from: [{serviceAccount: sleep-us}], to: [{hosts: [en.wikipedia.org]}]}`)})
	for name, change := range map[string]func(*Request){
		"anonymous":         func(r *Request) { r.Principal = "" },
		"a pattern of them": func(r *Request) { r.Principal = "spiffe://cluster.local/ns/default/*" },
		"yaml":              func(r *Request) { r.Principal = sleepUS + "\n    - namespace: default" },
		"a flow mapping":    func(r *Request) { r.Principal = sleepUS + "}, {namespace: default" },
		"another domain":    func(r *Request) { r.Principal = "spiffe://elsewhere/ns/default/sa/sleep-us" },
		"no id":             func(r *Request) { r.Principal = "sleep-us" },
		"a wildcard":        func(r *Request) { r.Host = "*.wikipedia.org" },
		"an address":        func(r *Request) { r.Host = "10.0.0.1" },
		"no name":           func(r *Request) { r.Host = "" },
		"yaml in a host":    func(r *Request) { r.Host = "a.example\n      - '*'" },
		"no such gateway":   func(r *Request) { r.Gateway = "west" },
	} {
		r := asks("www.google.com")
		change(&r)
		_, err := Allow(r, in, time.Now())
		require.Error(t, err, name)
	}
	_, err := Allow(asks("a.example"), InForce{}, time.Now())
	require.Error(t, err)
}
