package differential

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"sallyport/policy/model"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// translated prints a gateway.
func translated(t require.TestingT, g *model.Gateway) *translate.Resources {
	res, err := translate.New().Translate(g)
	require.NoError(t, err)
	return res
}

// read gives the resources to the reader.
func read(t require.TestingT, res *translate.Resources) *reader.Gateway {
	g, err := tryRead(res)
	require.NoError(t, err)
	return g
}

// tryRead is read for resources that may be spoilt.
func tryRead(res *translate.Resources) (*reader.Gateway, error) {
	var all []proto.Message
	for _, r := range resources(res) {
		all = append(all, r.Message)
	}
	return reader.Read(all...)
}

// resources are those of all types.
func resources(res *translate.Resources) []translate.Resource {
	return slices.Concat(res.Listeners, res.Clusters, res.Routes, res.Secrets)
}

// publicAddresses is a DNS in which every name exists.
func publicAddresses(string) []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("93.184.215.14"), netip.MustParseAddr("2606:2800:21f::1")}
}

// caller is one way of being a principal.
type caller struct {
	from reader.Connection
	// principal is whom the policy must take the caller for.
	principal string
	// stranger says that the entry must refuse it, whatever the policy says.
	stranger bool
}

// callers are all ways of being someone at the gateway.
func callers(g *model.Gateway) []caller {
	var out []caller
	somewhere := netip.MustParseAddrPort("203.0.113.1:40000")
	for _, p := range principals() {
		if p == "" {
			continue
		}
		out = append(out, caller{
			from:      reader.Connection{Entry: "entry/mtls", Source: somewhere, Certificate: &reader.Certificate{URISANs: []string{p}}},
			principal: p,
			stranger:  !certifiable(p),
		})
	}
	known := spiffeID(trustDomain, "a", "x")
	for _, c := range []*reader.Certificate{
		nil, {}, {URISANs: []string{known, spiffeID(trustDomain, "b", "z")}}, {URISANs: []string{spiffeID(otherDomain, "a", "x"), known}},
		{URISANs: []string{known + ",x"}}, {URISANs: []string{"spiffe://" + trustDomain + "/"}}, {URISANs: []string{known + "\n"}},
	} {
		out = append(out, caller{from: reader.Connection{Entry: "entry/mtls", Source: somewhere, Certificate: c}, stranger: true})
	}
	out = append(out, caller{from: reader.Connection{Entry: "entry/anyone", Source: somewhere}})
	for _, source := range []string{"10.1.2.3", "10.1.2.4", "10.2.0.1", "172.20.0.1", "192.0.2.1", "2001:db8:1::1", "2001:db8:2::1"} {
		addr := netip.MustParseAddr(source)
		out = append(out, caller{
			from:      reader.Connection{Entry: "entry/tls", Source: netip.AddrPortFrom(addr, 40000)},
			principal: principalOf(g, addr),
		})
	}
	return out
}

// certifiable reports whether a certificate with the identity is let in: one of
// the trust domain, of a namespace as Kubernetes has them or of none.
func certifiable(principal string) bool {
	path, ok := strings.CutPrefix(principal, "spiffe://"+trustDomain+"/")
	namespaced := regexp.MustCompile(`^ns/[^/]+/sa/[^/]+$`).MatchString(path)
	return ok && (namespaced || !strings.Contains("/"+path+"/", "/ns/")) && !strings.Contains("/"+path+"/", "//")
}

// principalOf is what the gateway's list of sources says: the most specific
// range decides.
func principalOf(g *model.Gateway, source netip.Addr) string {
	i := slices.IndexFunc(g.Listeners, func(l model.Listener) bool { return l.Name == "tls" })
	best := model.Source{}
	for _, s := range g.Listeners[i].Sources {
		if s.Prefix.Contains(source) && (!best.Prefix.IsValid() || s.Prefix.Bits() > best.Prefix.Bits()) {
			best = s
		}
	}
	return best.Principal
}

// The policy's verdict and Envoy's are the same, for every way of being someone
// and every name a client could send: never a false Allow, never a false Deny,
// the same rule, the same place dialled, and nothing asked of DNS in vain.
func TestVerdictsAreEnvoysVerdicts(t *testing.T) {
	cases, allowed, where := 0, 0, 0
	for range 3 { // rapid checks a hundred policies a time
		rapid.Check(t, func(t *rapid.T) {
			docs := documents().Draw(t, "documents")
			g := compiled(t, docs)
			envoy := read(t, translated(t, g))
			all := callers(g)
			for _, name := range wireNames(t, g) {
				for _, c := range all {
					c.from.Hello = &reader.Hello{ServerName: name}
					v, err := envoy.Connect(c.from, publicAddresses)
					if err != nil {
						t.Fatalf("%s %q: %v", c.principal, name, err)
					}
					cases++
					if v.Connected {
						allowed++
						if strings.HasSuffix(v.Last().Chain, "|where") {
							where++
						}
					}
					if problem := compare(g, c, name, v); problem != "" {
						t.Fatalf("%s\ncaller %+v, principal %q, name %q\nDecide %s\nEnvoy %+v\n%s", problem, c.from, c.principal, name,
							describe(g.DecideWire(c.principal, name)), v, show(docs))
					}
				}
			}
		})
	}
	t.Logf("%d cases, %d of them allowed, of which %d by rules with conditions", cases, allowed, where)
	require.Greater(t, cases, 100_000)
	require.Greater(t, allowed, cases/50, "a test of refusals alone")
	require.Greater(t, where, allowed/20)
}

func describe(d model.Decision) string {
	s := fmt.Sprintf("%v %s", d.Verdict, d.Reason)
	if d.Rule != nil {
		s += " by " + d.Rule.ID.String()
	}
	if d.Entry != nil {
		s += " at " + d.Entry.Pattern.String()
	}
	return s
}

// compare says how Envoy's verdict differs from the policy's, or nothing.
func compare(g *model.Gateway, c caller, name string, v reader.Verdict) string {
	d := model.Decision{}
	if !c.stranger {
		d = g.DecideWire(c.principal, name)
	}
	switch {
	case d.Verdict == model.Allow && !v.Connected:
		return "a false Deny"
	case d.Verdict == model.Deny && v.Connected:
		return "a FALSE ALLOW"
	case v.Connected:
		return compareGrant(d, name, v)
	case len(v.Asked) > 0 || len(v.Dialled) > 0:
		return "a refused connection left something behind"
	case c.stranger && len(v.Path) > 1:
		return "a stranger got past the entry"
	default:
		return compareRefusal(d, c.principal, v)
	}
}

func compareGrant(d model.Decision, name string, v reader.Verdict) string {
	part := strings.Split(v.Last().Chain, "|")
	pattern, dial := "*", model.Dial{Port: 443}
	if d.Entry != nil {
		pattern, dial = d.Entry.Pattern.String(), d.Entry.Dial
	}
	rule := "default-action"
	switch {
	case d.Rule != nil:
		rule = d.Rule.ID.String()
	case d.Reason == model.AuditMode:
		rule = "audit-mode"
		if len(part) > 0 && part[0] == "*" {
			pattern = "*" // those that are reached as they are asked for share a chain
		}
	}
	if len(part) != 3 || part[0] != pattern {
		return "another pattern's chain"
	}
	if part[1] != rule {
		return "another rule's chain"
	}
	host, addresses := strings.ToLower(name), publicAddresses("")
	if dial.Host != "" {
		host = dial.Host
	}
	asked := []string{host}
	if len(dial.Addresses) > 0 {
		host, asked, addresses = "", nil, dial.Addresses
	}
	if v.Host != host || !slices.Equal(v.Asked, asked) {
		return "another host"
	}
	for _, a := range v.Dialled {
		if a.Port() != dial.Port || !slices.Contains(addresses, a.Addr()) {
			return "another address"
		}
	}
	return ""
}

// compareRefusal checks that the policy that Envoy's log names is the one that
// decided.
func compareRefusal(d model.Decision, principal string, v reader.Verdict) string {
	id, err := model.ParseRuleID(v.Policy)
	switch {
	case d.Reason == model.DenyRule:
		if err != nil || id != d.Rule.ID {
			return "the log would name another rule than the Deny rule that decided"
		}
	case err != nil: // no rule is named
	case d.Reason == model.NotExported:
		// Envoy need not know why the chain is not there; what it names must be
		// true all the same.
		if !slices.ContainsFunc(d.Entry.Rules, func(r *model.Rule) bool {
			return r.ID == id && r.Action == model.Deny && r.Via.Has(model.ViaTLS) && r.Matches(principal)
		}) {
			return "the log would name a rule that does not match"
		}
	default:
		return "the log would name a rule, and none decided"
	}
	return ""
}
