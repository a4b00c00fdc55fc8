package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/test/differential/istiopolicies"
	"sallyport/test/differential/istioreader"
)

// asked is one way of asking for a host.
type asked struct {
	way     string
	request istioreader.Request
	decide  func(g *model.Gateway, principal string, host hostname.Name) model.Decision
}

// waysToAsk are TLS, and HTTP with every authority that a gateway takes.
func waysToAsk(host string) []asked {
	out := []asked{{
		way: "TLS", request: istioreader.Request{SNI: host},
		decide: func(g *model.Gateway, principal string, host hostname.Name) model.Decision {
			return g.DecideWire(principal, string(host))
		},
	}}
	for _, a := range []struct {
		connect bool
		port    string
	}{{false, ""}, {false, ":80"}, {true, ":443"}} {
		out = append(out, asked{
			way: fmt.Sprintf("HTTP, CONNECT %v, port %q", a.connect, a.port), request: istioreader.Request{SNI: host, HTTP: true, Authority: host + a.port},
			decide: func(g *model.Gateway, principal string, host hostname.Name) model.Decision {
				if a.connect {
					return g.DecideRequest(principal, true, string(host)+a.port)
				}
				// Whether the gateway speaks TLS for a host is the Destination's to say,
				// not the policies'.
				return g.DecideVia(model.ViaHTTP, principal, host)
			},
		})
	}
	return out
}

// A policy directory with AuthorizationPolicies says what Istio's documentation
// says that they say, about every workload, every host and every way to ask for
// it; and what it cannot say it refuses.
func TestIstioVerdictsAreTheDocumentations(t *testing.T) {
	const enough = 100_000
	cases, refused, decisions, allowed := 0, 0, 0, 0
	dir := t.TempDir()
	for range 4 { // rapid checks a hundred directories a time
		rapid.Check(t, func(t *rapid.T) {
			c := istiopolicies.Cases().Draw(t, "policies")
			require.NoError(t, c.Write(dir))
			var loader policy.Loader
			r := loader.Load(dir, now())
			cases++
			if len(c.Refusals) > 0 {
				refused++
				requireRefused(t, c.Refusals, r.Diagnostics)
				return
			}
			require.NotNil(t, r.Model, "%s\n%s", errorsOf(r.Diagnostics), shown(dir))
			g := r.Model.FindGateway(istiopolicies.GatewayName)
			for i, principal := range c.Principals() {
				for _, host := range istiopolicies.Hosts() {
					for _, a := range waysToAsk(host) {
						a.request.Principal, a.request.Registered = principal, c.Registered(host)
						a.request.Port = c.Ports[i%len(c.Ports)]
						want := istioreader.Judge(c.Workload, c.Policies, a.request)
						got := a.decide(g, principal, hostname.Name(host))
						if problem := compareIstio(want, got); problem != "" {
							t.Fatalf("%s\n%q asks for %s by %s\nIstio %+v\nDecide %s\n%s", problem, principal, host, a.way, want, decision(got), shown(dir))
						}
						decisions++
						if want.Allowed {
							allowed++
						}
					}
				}
			}
		})
	}
	t.Logf("%d directories, %d of them refused as they must be; %d decisions, %d of them Allow", cases, refused, decisions, allowed)
	require.Less(t, refused, cases/10)
	require.Greater(t, refused, 0)
	require.GreaterOrEqual(t, decisions, enough)
	require.Greater(t, allowed, decisions/20)
	require.Less(t, allowed, decisions*19/20)
}

// What the random directories have of the words that cannot be honoured, one by
// one.
func TestIstioPoliciesThatAreRefused(t *testing.T) {
	for _, c := range istiopolicies.Refused() {
		dir := t.TempDir()
		require.NoError(t, c.Write(dir))
		var loader policy.Loader
		r := loader.Load(dir, now())
		require.Nil(t, r.Model, shown(dir))
		requireRefused(t, c.Refusals, r.Diagnostics)
		for _, d := range r.Diagnostics {
			require.True(t, d.Severity == diag.Warning || d.Code == c.Refusals[0], "%s is refused for more than %s", d, c.Refusals[0])
		}
	}
}

func requireRefused(t require.TestingT, codes []string, diags diag.List) {
	for _, code := range codes {
		require.True(t, slices.ContainsFunc(diags, func(d diag.Diagnostic) bool {
			return d.Severity == diag.Error && d.Code == code && d.Pos.Line > 0
		}), "no error %s in %s", code, errorsOf(diags))
	}
}

func errorsOf(diags diag.List) string {
	s := ""
	for _, d := range diags {
		if d.Severity == diag.Error {
			s += d.String() + "\n"
		}
	}
	return s
}

func shown(dir string) string {
	s := ""
	for _, name := range []string{"gateway.yaml", "destination.yaml", "policies.yaml"} {
		data, _ := os.ReadFile(filepath.Join(dir, name))
		s += "# " + name + "\n" + string(data)
	}
	return s
}

func decision(d model.Decision) string {
	return fmt.Sprintf("%s, %s, rule %v, would be %s, audit %v", d.Verdict, d.Reason, ruleName(d.Rule), d.AuditVerdict, auditNames(d))
}

func ruleName(r *model.Rule) string {
	if r == nil {
		return ""
	}
	return r.ID.String()
}

func auditNames(d model.Decision) []string {
	var out []string
	for _, r := range d.Audit {
		out = append(out, r.ID.String())
	}
	slices.Sort(out)
	return out
}

// compareIstio says how a decision differs from Istio's answer.
func compareIstio(want istioreader.Answer, got model.Decision) string {
	switch {
	case want.Allowed != (got.Verdict == model.Allow):
		return "another verdict"
	case want.DryRunAllowed != (got.AuditVerdict == model.Allow):
		return "another verdict with dry runs enforced"
	case !slices.Equal(want.Audits, auditNames(got)):
		return "other audit rules match"
	case got.Reason == model.DenyRule && !slices.Contains(want.Denies, ruleName(got.Rule)),
		got.Reason == model.AllowRule && !slices.Contains(want.Allows, ruleName(got.Rule)):
		return "a rule decides that does not match"
	}
	return ""
}
