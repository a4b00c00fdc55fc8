package istio

import (
	"sallyport/pkg/diag"
	"sallyport/policy/syntax"
)

// policy is an AuthorizationPolicy whose words are understood, as far as that
// does not take a gateway.
type policy struct {
	doc   *syntax.AuthorizationPolicy
	rules []rule
}

// maxElements is how many elements `from`, `to` and `when` may have. For `from`
// it is Istio's own limit.
const maxElements = 512

// rule matches if one of from, one of to, when and sni do. Both lists have an
// element that matches everything if nothing is written.
type rule struct {
	pos  diag.Position
	from []subject
	to   []operation
	when subject
	sni  hostSet
}

// subject matches if one of each list of in matches, and none of not.
type subject struct {
	in  [][]whoValue
	not []whoValue
}

// operation is what one element of `to` says.
type operation struct {
	pos             diag.Position
	ports, notPorts []uint16
	// hosts is about HTTP requests; hostsPos is where it is written, nowhere if
	// it is not.
	hosts    hostSet
	hostsPos diag.Position
}

func (o operation) httpOnly() bool { return !o.hostsPos.IsZero() }

// httpOnly reports whether the rule has a field that Istio honours for HTTP
// only. See https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/
func (r *rule) httpOnly() bool {
	for _, o := range r.to {
		if o.httpOnly() {
			return true
		}
	}
	return false
}

// parsePolicy understands the words of a policy. Rules with errors are left
// out, so the policy must not be used if there are any.
func parsePolicy(doc *syntax.AuthorizationPolicy) (*policy, diag.List) {
	p := &parser{}
	out := &policy{doc: doc}
	for i := range doc.Rules {
		out.rules = append(out.rules, p.rule(&doc.Rules[i]))
	}
	return out, p.diags
}

type parser struct{ diags diag.List }

func (p *parser) rule(doc *syntax.AuthorizationRule) rule {
	r := rule{pos: doc.Pos}
	if max(len(doc.From), len(doc.To), len(doc.When)) > maxElements {
		p.diags.Errorf(doc.Pos, "too-complex", "from, to and when have at most %d elements: split the rule", maxElements)
		return r
	}
	for _, c := range doc.When {
		if c.Key == syntax.KeySNI {
			r.sni.narrow(p.serverNames(c.Values), p.serverNames(c.NotValues))
			continue
		}
		r.when.add(p.values(kindOfKey(c.Key), c.Values), p.values(kindOfKey(c.Key), c.NotValues))
	}
	for i := range doc.From {
		r.from = append(r.from, p.subject(&doc.From[i]))
	}
	if len(doc.From) == 0 {
		r.from = []subject{{}}
	}
	for i := range doc.To {
		r.to = append(r.to, p.operation(&doc.To[i]))
	}
	if len(doc.To) == 0 {
		r.to = []operation{{pos: doc.Pos}}
	}
	return r
}

func (p *parser) subject(doc *syntax.AuthorizationSource) subject {
	var s subject
	s.add(p.values(principalName, doc.Principals), p.values(principalName, doc.NotPrincipals))
	s.add(p.values(namespaceName, doc.Namespaces), p.values(namespaceName, doc.NotNamespaces))
	s.add(p.values(accountName, doc.ServiceAccounts), p.values(accountName, doc.NotServiceAccounts))
	s.add(p.values(domainName, doc.TrustDomains), p.values(domainName, doc.NotTrustDomains))
	return s
}

// add narrows the subject to one of in, if there are any, and none of not.
func (s *subject) add(in, not []whoValue) {
	if len(in) > 0 {
		s.in = append(s.in, in)
	}
	s.not = append(s.not, not...)
}

func (p *parser) operation(doc *syntax.AuthorizationOperation) operation {
	o := operation{pos: doc.Pos, ports: p.ports(doc.Ports), notPorts: p.ports(doc.NotPorts)}
	for _, list := range [][]syntax.Text{doc.NotHosts, doc.Hosts} {
		if len(list) > 0 {
			o.hostsPos = list[0].Pos
		}
	}
	o.hosts.narrow(p.hosts(doc.Hosts), p.hosts(doc.NotHosts))
	return o
}
