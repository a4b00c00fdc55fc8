package istio

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/syntax"
)

// This file is about what is around a connection on its way to the gateway. In
// Istio it decides which server of a Gateway takes the connection in, and its
// server name is what policies on connection.sni see. Here the name inside decides,
// so the two must come to the same.

// checkOutside looks at whether what comes over one leg of the mesh gets to the
// servers at the gateway that another is for.
func (r *registry) checkOutside(from, onward *leg, p hostname.Pattern, t toGateway) bool {
	taking := r.takingAt(onward, p, t.port)
	at := from.pos
	if t.at != nil {
		at = t.at.Pos
	}
	refuse := func(code, format string, args ...any) bool {
		r.diags.Errorf(at, code, format, args...)
		return false
	}
	what := "connections"
	if from.kind == httpRoutes {
		what = "requests"
	}
	wrapped := t.mode != syntax.ModeDisable
	switch {
	case !taking[0].MutualTLS && !wrapped:
		return true
	case !taking[0].MutualTLS && t.at == nil:
		return refuse("tls-twice", "workloads would wrap their TLS for %s once more, as the label %s of the gateway says that it takes Istio's automatic mutual TLS, and the server at %s lets it through as it is: "+
			"the host would not understand, and Istio's connections would fail; add a DestinationRule with `mode: DISABLE` for port %d of %s", p, tlsModeLabel, taking[0].Pos, t.port, from.host)
	case !taking[0].MutualTLS:
		return refuse("tls-twice", "workloads would wrap their TLS for %s once more, with %s, and the server at %s lets it through as it is: the host would not understand, and Istio's connections would fail; "+
			"remove the tls settings for port %d, or write `mode: DISABLE`", p, t.clientTLS, taking[0].Pos, t.port)
	case t.mode != syntax.ModeIstioMutual && t.at == nil:
		return refuse("no-mutual-tls", "%s for %s go to the server at %s, which asks for mutual TLS, and no DestinationRule for port %d of %s has tls.mode ISTIO_MUTUAL: "+
			"Istio's automatic mutual TLS is not spoken to gateways, so that it would close the connection; add a DestinationRule with `mode: ISTIO_MUTUAL`%s", what, p, taking[0].Pos, t.port, from.host, withSNI(p))
	case t.mode != syntax.ModeIstioMutual:
		return refuse("no-mutual-tls", "%s for %s go with %s to the server at %s, which asks for mutual TLS: Istio would close the connection; write `mode: ISTIO_MUTUAL`%s", what, p, t.clientTLS, taking[0].Pos, withSNI(p))
	}
	name := t.sni
	said := name
	if name == "" {
		name = clusterName(from, t.port)
		said = name + " (Istio's name for where they go)"
	} else if t.at != nil {
		at = t.at.SNI.Pos
	}
	answering := r.servers.answering(t.port, name)
	for _, s := range answering {
		if !slices.Contains(taking, s) {
			return refuse("sni-differs", "%s for %s would come to the gateway as %s, and not get to the server at %s, but to that at %s: %s", what, p, said, taking[0].Pos, s.Pos, adviseServer(from, p, name, taking[0]))
		}
	}
	if len(answering) == 0 {
		return refuse("sni-differs", "%s for %s would come to the gateway as %s, and the server at %s does not take that in, so that Istio would close the connection: %s", what, p, said, taking[0].Pos, adviseSNI(from, p, taking[0]))
	}
	if verbatim(name) == p {
		return true
	}
	if c := r.tellsApart(name, p); c != nil {
		return refuse("sni-differs", "%s for %s would come to the gateway as %s, and the condition on connection.sni at %s would be about that name: %s", what, p, said, c.pos, adviseSNI(from, p, nil))
	}
	return true
}

// clusterName is the server name that Istio gives mutual TLS which has none of its
// own (BuildDNSSrvSubsetKey in pilot/pkg/model/service.go).
func clusterName(l *leg, port uint16) string {
	return strings.ToLower(fmt.Sprintf("outbound_.%d_.%s_.%s", port, l.subset.Value, l.host))
}

// withSNI is what to write besides the mode.
func withSNI(p hostname.Pattern) string {
	if p.IsWildcard() {
		return ""
	}
	return fmt.Sprintf(" and `sni: %s`", p)
}

// adviseServer says what to do if a name gets to another server.
func adviseServer(from *leg, p hostname.Pattern, name string, server *syntax.GatewayServer) string {
	if verbatim(name) == p {
		return "both have the host, or the other has one that is closer to it; leave it to one of them, as Istio does"
	}
	return adviseSNI(from, p, server)
}

// adviseSNI says what to do if the name outside is the wrong one for a server; nil
// if it is for policies.
func adviseSNI(from *leg, p hostname.Pattern, server *syntax.GatewayServer) string {
	switch {
	case !p.IsWildcard() && !slices.Contains(from.hosts, p):
		// The leg is for more names, and has one name for all of them.
		return fmt.Sprintf("write a route of its own for %s in the mesh, to a subset with `sni: %s`", p, p)
	case !p.IsWildcard():
		return fmt.Sprintf("write `sni: %s`", p)
	case server == nil:
		return "no sni can say all the names of a wildcard; have the Gateway let TLS through (PASSTHROUGH), so that Istio sees them, or write routes for single hosts"
	default:
		return "write an sni that a host of that server covers, and of no other more closely"
	}
}

// condition is a value of a condition on connection.sni.
type condition struct {
	pattern hostname.Pattern
	pos     diag.Position
}

// tellsApart is a condition of a policy at this gateway that holds for a server
// name and not for the names of a pattern, or the other way round, or for some of them
// only; nil if there is none.
func (r *registry) tellsApart(name string, p hostname.Pattern) *condition {
	for i, c := range r.conditions() {
		inside := c.pattern != p && p.Covers(c.pattern)
		if inside || c.pattern.Covers(verbatim(name)) != c.pattern.Covers(p) {
			return &r.toward.conditions[i]
		}
	}
	return nil
}

// conditions are those on connection.sni of the policies that apply to the gateway.
func (r *registry) conditions() []condition {
	if r.toward.read {
		return r.toward.conditions
	}
	r.toward.read = true
	at := newGatewayContext(r.group)
	for _, doc := range r.docs.AuthorizationPolicies {
		if !at.applies(doc) {
			continue
		}
		for _, rule := range doc.Rules {
			for _, when := range rule.When {
				if when.Key != syntax.KeySNI {
					continue
				}
				for _, v := range slices.Concat(when.Values, when.NotValues) {
					if p, err := serverName(v.Value); err == nil { // what is none is an error of its own
						r.toward.conditions = append(r.toward.conditions, condition{p, v.Pos})
					}
				}
			}
		}
	}
	return r.toward.conditions
}

// ports are those of servers, for people.
func ports(all []*syntax.GatewayServer) string {
	var numbers []uint16
	for _, s := range all {
		numbers = append(numbers, s.Port)
	}
	slices.Sort(numbers)
	var words []string
	for _, n := range slices.Compact(numbers) {
		words = append(words, fmt.Sprint(n))
	}
	return "port " + strings.Join(words, " or ")
}
