package istio

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// toGateway is how the workloads' proxies go on a leg of the mesh to the service
// of this group.
type toGateway struct {
	port uint16 // of the service
	// from are the namespaces from where they do, and lost is one from where they
	// find no subset.
	from exports.Set
	lost string
	clientTLS
}

// clientTLS is what a proxy does with a connection before it sends it.
type clientTLS struct {
	mode, sni string
	// at is what says so; nil if nothing does.
	at *syntax.ClientTLS
}

func (c clientTLS) same(d clientTLS) bool { return c.mode == d.mode && c.sni == d.sni }

// tlsModeLabel is the label of pods to which Istio's automatic mutual TLS speaks
// (GetTLSModeFromEndpointLabels in pilot/pkg/model/service.go). Sidecars get it; the
// gateways of Istio's own installation do not have it.
const tlsModeLabel, tlsModeIstio = "security.istio.io/tlsMode", "istio"

// speaks is what comes of the settings that Istio finds; nil if there are none.
func (r *registry) speaks(t *syntax.ClientTLS) clientTLS {
	switch {
	case t != nil:
		return clientTLS{mode: t.Mode, sni: strings.ToLower(t.SNI.Value), at: t} // Envoy reads server names in lower case
	case r.place.Labels[tlsModeLabel] == tlsModeIstio:
		return clientTLS{mode: syntax.ModeIstioMutual}
	default:
		return clientTLS{mode: syntax.ModeDisable}
	}
}

// toGateways remembers what was found about the services of gateways.
type toGateways struct {
	sample map[hostname.Pattern][]string
	rules  map[toGatewayKey]*serviceRules
	// conditions are the conditions on connection.sni, once they are read.
	conditions []condition
	read       bool
}

type toGatewayKey struct {
	client string
	host   hostname.Pattern
}

// serviceRules are the DestinationRules that a client has for a gateway's service.
// Istio makes one of them.
type serviceRules struct {
	policies []*syntax.DestinationRule // that have one
	subsets  map[string][]serviceSubset
	bad      bool // which has been said
	// byPort is what the policies say about ports that were asked for.
	byPort map[uint16]policyTLS
}

// policyTLS is what the policies of rules say about TLS at a port. It is not ok if
// it depends on which of them is older.
type policyTLS struct {
	tls *syntax.ClientTLS
	ok  bool
}

type serviceSubset struct {
	doc *syntax.DestinationRule
	*syntax.Subset
}

// serviceNamespace is where the gateway's service is.
func (r *registry) serviceNamespace(service hostname.Pattern) string {
	if words := strings.Split(service.Base(), "."); len(words) > 2 && words[2] == "svc" {
		return words[1]
	}
	return r.place.Namespace
}

// toGateway says how clients in the namespaces go to the gateway's service on a
// leg. It is not ok if that is from nowhere, or if they do not agree.
func (r *registry) toGateway(l *leg, clients exports.Set, port uint16) (toGateway, bool) {
	t := toGateway{port: port, from: clients}
	var with []string
	missing := false
	for _, client := range r.clientsOf(l.host, clients) {
		rules := r.serviceRulesFor(client, l.host)
		if rules.bad {
			return t, false
		}
		own, found, ok := r.settings(rules, l, port)
		switch {
		case !ok:
			return t, false
		case !found:
			missing, t.lost = true, client
			continue
		case len(with) > 0 && !own.same(t.clientTLS):
			r.disagree(l, t, own)
			return t, false
		case len(with) == 0:
			t.clientTLS = own
		}
		with = append(with, client)
	}
	switch {
	case !missing:
		return t, true
	case len(with) == 0:
		r.diags.Errorf(l.subset.Pos, "no-such-subset", "no DestinationRule for %s that workloads here have has the subset %s: Istio would close the connection; %s, or remove the subset here", l.host, l.subset.Value, r.whereToAdd(l))
		return t, false
	case slices.Contains(with, ""):
		r.diags.Errorf(l.subset.Pos, "no-such-subset", "the workloads of the namespace %s have other DestinationRules for %s, without the subset %s: Istio would close their connections, and here they would be open; add it there, or show the route to others only",
			t.lost, l.host, l.subset.Value)
		return t, false
	}
	t.from = exports.Of(with...)
	return t, true
}

// whereToAdd says where a subset would be found.
func (r *registry) whereToAdd(l *leg) string {
	for d := range r.rules.byHost.Covering(l.host) {
		for i := range d.doc.Subsets {
			if d.doc.Subsets[i].Name.Value == l.subset.Value {
				return fmt.Sprintf("the one at %s is not where Istio looks, which is in the namespaces of the workload, of the service (%s), and in the root namespace, among rules that are shown to the workload: move it, or set its exportTo",
					d.doc.Subsets[i].Name.Pos, r.serviceNamespace(l.host))
			}
		}
	}
	return "add it"
}

// someOnly says that a subset is there for some namespaces only.
func (t toGateway) someOnly(l *leg) string {
	return fmt.Sprintf("only workloads of %s have a DestinationRule for %s with the subset %s", strings.Join(t.from, ", "), l.host, l.subset.Value)
}

// remedy says what to do about that.
func (r *registry) remedy(t toGateway, service hostname.Pattern) string {
	return fmt.Sprintf("if all are meant, write the DestinationRule in the namespace %s, shown to all; if not, write `exportTo: [%s]` in the ServiceEntry, and show the VirtualService to no others either but the gateway's namespace", r.serviceNamespace(service), strings.Join(t.from, ", "))
}

func (r *registry) disagree(l *leg, t toGateway, other clientTLS) {
	at := l.pos
	if t.at != nil {
		at = t.at.Pos
	} else if other.at != nil {
		at = other.at.Pos
	}
	r.diags.Errorf(at, "not-honoured", "workloads of some namespaces would go to %s with %s, and those of others with %s: write one DestinationRule for it in its namespace, %s, or set the exportTo of the routes and rules alike",
		l.host, t.clientTLS, other, r.serviceNamespace(l.host))
}

// String is for people.
func (c clientTLS) String() string {
	switch {
	case c.at == nil && c.mode == syntax.ModeDisable:
		return "no TLS around it, as no DestinationRule has any"
	case c.sni == "":
		return "tls.mode " + c.mode
	default:
		return "tls.mode " + c.mode + " and sni " + c.sni
	}
}
