package istio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// maxPatterns is how many host patterns one rule may come to. Operations and
// conditions multiply.
const maxPatterns = 100_000

// ports reads the ports of an operation.
func (p *parser) ports(list []syntax.Text) []uint16 {
	var out []uint16
	for _, t := range list {
		n, err := strconv.ParseUint(t.Value, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != t.Value {
			p.diags.Errorf(t.Pos, "bad-value", "%q is not a port: write a number from 0 to 65535", t.Value)
			continue
		}
		out = append(out, uint16(n))
	}
	return out
}

// to are the hosts that a rule is about when they are asked for in this way;
// none if the rule matches nothing then.
//
// Istio judges what is not HTTP without HTTP's fields: an ALLOW rule that has
// one is ignored, in other rules the field is. See
// https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/
func (g *gatewayContext) to(p *policy, r *rule, via model.Via, diags *diag.List) []model.To {
	if via == model.ViaTLS && p.doc.Action == syntax.ActionAllow && r.httpOnly() {
		return nil
	}
	var sets []hostSet
	patterns := 0
	for _, o := range r.to {
		if !g.meansPorts(o, diags) {
			continue
		}
		set := r.sni
		if via == model.ViaHTTP {
			set = set.and(o.hosts)
		}
		if via == model.ViaTLS || !o.httpOnly() {
			return set.to() // what the other operations mean is a part of that
		}
		sets = append(sets, set)
		if patterns += set.size(); patterns > maxPatterns {
			diags.Errorf(r.pos, "too-complex", "the operations and conditions of this rule come to more than %d host patterns: split the rule", maxPatterns)
			return nil
		}
	}
	var out []model.To
	for _, s := range sets {
		out = append(out, s.to()...)
	}
	return out
}

// meansPorts reports whether an operation is about the gateway's ports. One
// that is about some of them is an error: which listener a workload came in by
// says nothing here.
func (g *gatewayContext) meansPorts(o operation, diags *diag.List) bool {
	meant, others := g.byPorts(o)
	if len(meant) > 0 && len(others) > 0 {
		diags.Errorf(o.pos, "not-honoured", "the ports of this operation mean the listeners %s of EgressGateway %s, and not %s; "+
			"a rule cannot tell the listeners of a gateway apart: name the ports of all of them, or of none",
			strings.Join(meant, ", "), g.doc.Name, strings.Join(others, ", "))
	}
	return len(others) == 0
}

// byPorts are the gateway's listeners, those that an operation means and the
// others, for a person.
func (g *gatewayContext) byPorts(o operation) (meant, others []string) {
	for _, l := range g.doc.Listeners {
		in := (len(o.ports) == 0 || slices.Contains(o.ports, l.Port)) && !slices.Contains(o.notPorts, l.Port)
		shown := fmt.Sprintf("%s (%d)", l.Name, l.Port)
		if in {
			meant = append(meant, shown)
		} else {
			others = append(others, shown)
		}
	}
	return meant, others
}

// checkDenied refuses DENY for ports that no gateway listens at. The gateway that
// the rule was written for did, so what it refused there would be open here.
func (p *policy) checkDenied(o operation, gateways []*gatewayContext, diags *diag.List) {
	var listeners []string
	for _, g := range gateways {
		meant, others := g.byPorts(o)
		if len(meant) > 0 {
			return
		}
		listeners = append(listeners, others...)
	}
	diags.Errorf(o.pos, "not-honoured", "the ports of this operation mean none of the gateways' listeners, %s, so that this DENY rule would refuse nothing: name their ports, or leave the ports out",
		strings.Join(listeners, ", "))
}
