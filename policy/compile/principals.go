package compile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// errOutside is a peer that no workload of the policy's namespace fits.
var errOutside = errors.New("outside of the policy's namespace")

// resolvePeer says which principals of a trust domain a peer selects, of those
// that the policy may speak for.
func resolvePeer(p *syntax.EgressPolicy, peer syntax.Peer, trustDomain string) (model.PrincipalMatch, error) {
	m, err := selected(p, peer, trustDomain)
	if err != nil || p.Namespace == "" {
		return m, err
	}
	own := wholeNamespace(trustDomain, p.Namespace)
	switch {
	case own.Covers(m):
		return m, nil
	case m.Covers(own):
		return own, nil
	default:
		return model.PrincipalMatch{}, errOutside
	}
}

// selected is what the peer says, whoever's policy it is in.
func selected(p *syntax.EgressPolicy, peer syntax.Peer, trustDomain string) (model.PrincipalMatch, error) {
	switch {
	case peer.Principal == "*":
		// Everyone with an identity: the anonymous principal has none.
		return model.PrincipalMatch{Kind: model.MatchPrefix, Value: "spiffe://"}, nil
	case peer.Principal != "":
		if prefix, ok := strings.CutSuffix(peer.Principal, "*"); ok {
			return model.PrincipalMatch{Kind: model.MatchPrefix, Value: prefix}, nil
		}
		return model.PrincipalMatch{Kind: model.MatchExact, Value: peer.Principal}, nil
	case peer.ServiceAccount != "":
		namespace := cmp.Or(peer.Namespace, p.Namespace)
		if namespace == "" {
			return model.PrincipalMatch{}, fmt.Errorf("the serviceAccount %s could be in any namespace: add `namespace`", peer.ServiceAccount)
		}
		return model.PrincipalMatch{
			Kind:  model.MatchExact,
			Value: model.NamespacePrefix(trustDomain, namespace) + "sa/" + peer.ServiceAccount,
		}, nil
	case peer.Namespace != "":
		return wholeNamespace(trustDomain, peer.Namespace), nil
	default:
		return model.PrincipalMatch{}, errors.New("this selects nobody: set principal, serviceAccount or namespace")
	}
}

func wholeNamespace(trustDomain, namespace string) model.PrincipalMatch {
	return model.PrincipalMatch{Kind: model.MatchPrefix, Value: model.NamespacePrefix(trustDomain, namespace)}
}

// checkPeers reports the peers that mean nothing. A SPIFFE ID belongs to one
// trust domain, so a peer of a namespaced policy may be nobody at some of the
// gateways, but it must be somebody at one of them.
func (c *compiler) checkPeers(p *syntax.EgressPolicy, r *syntax.Rule) {
	if c.partial {
		return // the gateway it is for may be missing
	}
	for _, peer := range r.From {
		var errs []error
		for _, g := range c.docs.Gateways {
			_, err := resolvePeer(p, peer, g.TrustDomain)
			errs = append(errs, err)
		}
		if len(errs) == 0 || slices.Contains(errs, nil) {
			continue
		}
		if err := errs[0]; !errors.Is(err, errOutside) {
			c.diags.Errorf(place(peer.Pos, r.Pos), "bad-peer", "%v", err)
			continue
		}
		c.diags.Errorf(place(peer.Pos, r.Pos), "foreign-namespace", "%s is outside of the policy's namespace: "+
			"EgressPolicy %s only speaks for workloads of %s; put the rule into a policy of that namespace, or into one without a namespace",
			describePeer(peer), fullName(&p.Meta), c.ownPrincipals(p))
	}
}

// ownPrincipals shows the principals of the policy's namespace.
func (c *compiler) ownPrincipals(p *syntax.EgressPolicy) string {
	var own []string
	for _, g := range c.docs.Gateways {
		own = append(own, wholeNamespace(g.TrustDomain, p.Namespace).String())
	}
	slices.Sort(own)
	return strings.Join(slices.Compact(own), " or ")
}

func describePeer(peer syntax.Peer) string {
	switch {
	case peer.Principal != "":
		return peer.Principal
	case peer.ServiceAccount != "":
		return "serviceAccount " + peer.ServiceAccount + " of the namespace " + peer.Namespace
	default:
		return "namespace " + peer.Namespace
	}
}

// from are the principals that a rule speaks for at a gateway, normalised;
// none if all its peers are of other trust domains, or wrong.
func from(p *syntax.EgressPolicy, r *syntax.Rule, trustDomain string) []model.PrincipalMatch {
	if len(r.From) == 0 {
		if p.Namespace == "" {
			return []model.PrincipalMatch{{Kind: model.MatchAny}}
		}
		return []model.PrincipalMatch{wholeNamespace(trustDomain, p.Namespace)}
	}
	out := make([]model.PrincipalMatch, 0, len(r.From))
	for _, peer := range r.From {
		if m, err := resolvePeer(p, peer, trustDomain); err == nil {
			out = append(out, m)
		}
	}
	return model.NormalizeFrom(out)
}
