package istio_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/istio"
	"sallyport/policy/syntax"
)

// This file reads rules for the gateway's service as Istio's own source does, from
// which it is written down: setDestinationRules, mergeDestinationRule and
// destinationRule in pilot/pkg/model, SidecarScope.DestinationRule, and
// MergeSubsetTrafficPolicy.

const (
	gatewayService   = "istio-egressgateway.gateways.svc.cluster.local"
	gatewayNamespace = "gateways"
	meshRoot         = "root"
)

// istioRule is a rule that Istio has made of one or several.
type istioRule struct {
	exportTo []string // sorted, as they are written
	doc      syntax.DestinationRule
}

// istioIndex has the rules of namespaces by hosts.
type istioIndex map[string]map[string][]*istioRule

func (x istioIndex) merge(namespace string, doc *syntax.DestinationRule, exportTo []string) {
	if x[namespace] == nil {
		x[namespace] = make(map[string][]*istioRule)
	}
	host := doc.Host.Pattern.String()
	separate := true
	for _, mdr := range x[namespace][host] {
		contains := !slices.ContainsFunc(mdr.exportTo, func(e string) bool { return !slices.Contains(exportTo, e) })
		if !slices.Equal(exportTo, mdr.exportTo) && (len(mdr.exportTo) == 0 || !contains) {
			separate = true
			continue
		}
		separate = false
		for _, s := range doc.Subsets {
			if !slices.ContainsFunc(mdr.doc.Subsets, func(t syntax.Subset) bool { return t.Name.Value == s.Name.Value }) {
				mdr.doc.Subsets = append(slices.Clip(mdr.doc.Subsets), s)
			}
		}
		if !mdr.doc.Policy.Written {
			mdr.doc.Policy = doc.Policy
		}
	}
	if separate {
		x[namespace][host] = append(x[namespace][host], &istioRule{exportTo, *doc})
	}
}

func (x istioIndex) mostSpecific(namespace string) []*istioRule {
	hosts := slices.SortedFunc(maps.Keys(x[namespace]), func(a, b string) int { return len(b) - len(a) }) // the exact one is the longest
	if len(hosts) == 0 {
		return nil
	}
	return x[namespace][hosts[0]]
}

// istioMesh is what Istio makes of rules, of which the oldest comes first.
type istioMesh struct{ local, exported, rootLocal istioIndex }

func newIstioMesh(docs []*syntax.DestinationRule) istioMesh {
	m := istioMesh{istioIndex{}, istioIndex{}, istioIndex{}}
	for _, d := range docs {
		var exportTo []string
		for _, t := range d.ExportTo {
			exportTo = append(exportTo, t.Value)
		}
		slices.Sort(exportTo)
		has := func(s string) bool { return slices.Contains(exportTo, s) }
		if len(exportTo) == 0 || has("*") || has(".") || has(d.Namespace) {
			m.local.merge(d.Namespace, d, exportTo)
		}
		if private := len(exportTo) == 1 && (has(".") || has(d.Namespace)); !private {
			m.exported.merge(d.Namespace, d, exportTo)
		} else if d.Namespace == meshRoot {
			m.rootLocal.merge(d.Namespace, d, exportTo)
		}
	}
	return m
}

// ruleFor is the rule of a client for the gateway's service; nil if there is none.
func (m istioMesh) ruleFor(client string) *syntax.DestinationRule {
	last := func(rules []*istioRule) *syntax.DestinationRule { return &rules[len(rules)-1].doc }
	own := m.local.mostSpecific(client)
	if client == meshRoot {
		own = m.rootLocal.mostSpecific(client)
	}
	if len(own) > 0 {
		return last(own)
	}
	for _, namespace := range []string{gatewayNamespace, meshRoot} {
		var out []*istioRule
		for _, r := range m.exported.mostSpecific(namespace) {
			if len(r.exportTo) == 0 || slices.Contains(r.exportTo, "*") || slices.Contains(r.exportTo, client) {
				out = append(out, r)
			}
		}
		if len(out) > 0 {
			return last(out)
		}
	}
	return nil
}

// cluster is what a client's proxy speaks to port 443 of the gateway's service or a
// subset of it; nil is plain. It is not there if there is no such subset.
func (m istioMesh) cluster(client, subset string) (tls *syntax.ClientTLS, there bool) {
	rule := m.ruleFor(client)
	at := func(p syntax.TrafficPolicy) (tls *syntax.ClientTLS, port bool) {
		if len(p.Ports) > 0 {
			return p.Ports[0].TLS, true
		}
		return p.TLS, false
	}
	if rule != nil {
		tls, _ = at(rule.Policy)
	}
	if subset == "" {
		return tls, true
	}
	if rule != nil {
		for _, s := range rule.Subsets {
			if s.Name.Value == subset {
				if own, port := at(s.Policy); own != nil || port {
					tls = own
				}
				return tls, true
			}
		}
	}
	return nil, false
}

// onTheWay is what the documents of the test below say besides the rules.
type onTheWay struct {
	subset      string
	mutual, any bool // the server of the Gateway
	policy      bool // on connection.sni
}

// arrives reports whether Istio leads the connections of a client for
// a.example.com on, under that name.
func (w onTheWay) arrives(m istioMesh, client string) bool {
	tls, there := m.cluster(client, w.subset)
	mode := syntax.ModeDisable
	if tls != nil {
		mode = tls.Mode
	}
	switch {
	case !there:
		return false
	case !w.mutual:
		return mode == syntax.ModeDisable
	case mode != syntax.ModeIstioMutual:
		return false
	}
	return tls.SNI.Value == "a.example.com" || w.any && !w.policy
}

func (w onTheWay) documents(t *rapid.T, rules []*syntax.DestinationRule) *syntax.Documents {
	host, _ := hostname.ParsePattern("a.example.com")
	service, _ := hostname.ParsePattern(gatewayService)
	taken := host
	if w.any {
		taken, _ = hostname.ParsePattern("*")
	}
	bound := []syntax.GatewayName{{Mesh: true}, {Name: "g"}}
	meta := func(name string) syntax.Meta { return syntax.Meta{Name: name, Namespace: gatewayNamespace} }
	in := syntax.RouteMatch{Port: 443, SNIHosts: []syntax.Host{{Pattern: host}}, Gateways: bound[:1]}
	on := syntax.RouteMatch{Port: 443, SNIHosts: []syntax.Host{{Pattern: host}}, Gateways: bound[1:]}
	toGateway := syntax.Route{
		Matches:     []syntax.RouteMatch{in},
		Destination: syntax.RouteDestination{Host: syntax.Host{Pattern: service}, Subset: syntax.Text{Value: w.subset}, Port: 443},
	}
	toHost := syntax.Route{Matches: []syntax.RouteMatch{on}, Destination: syntax.RouteDestination{Host: syntax.Host{Pattern: host}, Port: 443}}
	vs := &syntax.VirtualService{Meta: meta("v"), Hosts: []syntax.Host{{Pattern: host}}, Gateways: bound, TLS: []syntax.Route{toGateway}}
	if w.mutual {
		vs.TCP = []syntax.Route{toHost}
	} else {
		vs.TLS = append(vs.TLS, toHost)
	}
	docs := &syntax.Documents{}
	docs.Istio.ServiceEntries = []*syntax.ServiceEntry{{
		Meta: meta("e"), Hosts: []syntax.Host{{Pattern: host}}, Resolution: syntax.ResolutionDNS,
		Ports: []syntax.ServicePort{{Number: 443, Name: syntax.Text{Value: "tls"}, Protocol: "TLS"}},
	}}
	docs.Istio.Gateways = []*syntax.IstioGateway{{Meta: meta("g"), Servers: []syntax.GatewayServer{{
		Port: 443, MutualTLS: w.mutual, Hosts: []syntax.GatewayHost{{Namespace: "*", Pattern: taken}},
	}}}}
	docs.Istio.VirtualServices = []*syntax.VirtualService{vs}
	docs.Istio.DestinationRules = rapid.Permutation(rules).Draw(t, "read in this order")
	if w.policy {
		docs.Istio.AuthorizationPolicies = []*syntax.AuthorizationPolicy{{Meta: meta("p"), Action: syntax.ActionDeny, Rules: []syntax.AuthorizationRule{{
			When: []syntax.AuthorizationCondition{{Key: syntax.KeySNI, Values: []syntax.Text{{Value: "a.example.com"}}}},
		}}}}
	}
	return docs
}

// drawnRule is a rule for the gateway's service.
func drawnRule(t *rapid.T, i int) *syntax.DestinationRule {
	tls := func(label string) *syntax.ClientTLS {
		words := strings.Fields(rapid.SampledFrom([]string{"", "DISABLE", "ISTIO_MUTUAL", "ISTIO_MUTUAL a.example.com", "ISTIO_MUTUAL a.example.com", "SIMPLE"}).Draw(t, label))
		if len(words) == 0 {
			return nil
		}
		return &syntax.ClientTLS{Mode: words[0], SNI: syntax.Text{Value: strings.Join(words[1:], "")}}
	}
	policy := func(label string) syntax.TrafficPolicy {
		p := syntax.TrafficPolicy{TLS: tls(label)}
		if rapid.IntRange(0, 3).Draw(t, label+" for the port too") == 0 {
			p.Ports = []syntax.PortPolicy{{Port: 443, TrafficPolicy: syntax.TrafficPolicy{TLS: tls(label + " of the port")}}}
		}
		p.Written = p.TLS != nil || len(p.Ports) > 0
		return p
	}
	d := &syntax.DestinationRule{Meta: syntax.Meta{
		Name: fmt.Sprint("d", i), Namespace: rapid.SampledFrom([]string{"a", "b", gatewayNamespace, gatewayNamespace, meshRoot}).Draw(t, "namespace"),
	}}
	d.Pos.Line = i + 1
	d.Host.Pattern, _ = hostname.ParsePattern(rapid.SampledFrom([]string{gatewayService, gatewayService, "*.gateways.svc.cluster.local", "*.local"}).Draw(t, "host"))
	for _, n := range strings.Fields(rapid.SampledFrom([]string{"", "", "*", ".", "a", ". c", "a b"}).Draw(t, "exportTo")) {
		d.ExportTo = append(d.ExportTo, syntax.Text{Value: n})
	}
	d.Policy = policy("tls")
	for _, name := range []string{"s", "other"} {
		if rapid.IntRange(0, 2).Draw(t, "has the subset "+name) > 0 {
			d.Subsets = append(d.Subsets, syntax.Subset{Name: syntax.Text{Value: name}, Policy: policy("tls of the subset")})
		}
	}
	return d
}

// TestWayToTheGateway compares who may reach a host through the gateway with whose
// connections Istio would lead there, however old the rules are. If nothing is wrong
// with them, they are not refused.
func TestWayToTheGateway(t *testing.T) {
	outcomes := make(map[string]int)
	clients := []string{"a", "b", "c", "d", gatewayNamespace, meshRoot}
	gateway := &syntax.EgressGateway{Istio: syntax.IstioGatewayPlace{RootNamespace: meshRoot, Namespace: gatewayNamespace}}
	rapid.Check(t, func(t *rapid.T) {
		w := onTheWay{
			subset: rapid.SampledFrom([]string{"", "s", "s"}).Draw(t, "subset"), mutual: rapid.Bool().Draw(t, "mutual TLS"),
			any: rapid.Bool().Draw(t, "any host"), policy: rapid.Bool().Draw(t, "a policy"),
		}
		var rules []*syntax.DestinationRule
		for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
			rules = append(rules, drawnRule(t, i))
		}
		found, diags := istio.Registry(w.documents(t, rules), gateway)
		all, none, same := true, true, true
		var first exports.Set
		for i, aged := range permutations(rules) {
			m := newIstioMesh(aged)
			var arrive []string
			for _, c := range clients {
				if w.arrives(m, c) {
					arrive = append(arrive, c)
				}
			}
			all, none = all && len(arrive) == len(clients), none && len(arrive) == 0
			if i == 0 {
				first = exports.Of(arrive...)
			}
			same = same && slices.Equal(first, exports.Of(arrive...))
			if diags.HasErrors() {
				continue
			}
			require.Len(t, found, 1)
			for _, c := range clients {
				require.Equal(t, slices.Contains(arrive, c), found[0].ExportTo.Has(c), "%s, with %v", c, found)
			}
		}
		switch {
		case !diags.HasErrors():
			outcomes["accepted"]++
			if !all {
				outcomes["accepted for some"]++
			}
		case all && len(rules) <= 1:
			require.NoError(t, diags.Err(), "Istio leads all of them on")
		case none:
			outcomes["refused, closed for all"]++
		case same:
			outcomes["refused, closed for some"]++
		default:
			outcomes["refused, as it depends on ages"]++
		}
	})
	for _, outcome := range []string{"accepted", "accepted for some", "refused, closed for all", "refused, closed for some"} {
		require.Positive(t, outcomes[outcome], "%v", outcomes)
	}
	t.Log(outcomes)
}

func permutations(rules []*syntax.DestinationRule) [][]*syntax.DestinationRule {
	if len(rules) == 0 {
		return [][]*syntax.DestinationRule{nil}
	}
	var out [][]*syntax.DestinationRule
	for i := range rules {
		for _, rest := range permutations(slices.Delete(slices.Clone(rules), i, i+1)) {
			out = append(out, append(rest, rules[i]))
		}
	}
	return out
}
