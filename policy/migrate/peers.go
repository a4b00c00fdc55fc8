package migrate

import (
	"slices"
	"strings"

	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

const scheme = "spiffe://"

// population is whom a gateway may meet: identities of its trust domain, and
// those that its listeners give to addresses.
type population struct {
	domain string // spiffe://TRUST-DOMAIN/
	named  []string
}

func populationOf(g *syntax.EgressGateway) population {
	p := population{domain: scheme + g.TrustDomain + "/"}
	for _, l := range g.Listeners {
		for _, s := range l.Sources {
			if !strings.HasPrefix(s.Principal, p.domain) {
				p.named = append(p.named, s.Principal)
			}
		}
	}
	slices.Sort(p.named)
	p.named = slices.Compact(p.named)
	return p
}

// peers writes whom a rule speaks for as elements of `from`; none if that is
// everyone. It is not ok if our language has no words for it. If nobody that the
// gateway may meet is meant, nobody is true.
func (p population) peers(from []model.PrincipalMatch) (out []string, nobody, ok bool) {
	for _, m := range from {
		switch m.Kind {
		case model.MatchAny:
			return nil, false, true
		case model.MatchExact:
			if !strings.HasPrefix(m.Value, p.domain) && !slices.Contains(p.named, m.Value) {
				continue
			}
			peer, ok := p.workload(m.Value)
			if !ok {
				return nil, false, false
			}
			out = append(out, peer)
		case model.MatchPrefix:
			more, ok := p.prefix(m.Value)
			if !ok {
				return nil, false, false
			}
			out = append(out, more...)
		default:
			return nil, false, false
		}
	}
	return out, len(out) == 0, true
}

// workload is one identity.
func (p population) workload(id string) (string, bool) {
	if path, own := strings.CutPrefix(id, p.domain); own {
		ns, account, ok := splitAccount(path)
		if ok {
			return "{serviceAccount: " + layout.Scalar(account) + ", namespace: " + layout.Scalar(ns) + "}", true
		}
	}
	_, path, _ := strings.Cut(strings.TrimPrefix(id, scheme), "/")
	return "{principal: " + layout.Scalar(id) + "}", isPath(path) && !strings.HasSuffix(path, "/")
}

// splitAccount takes ns/NAMESPACE/sa/NAME apart.
func splitAccount(path string) (ns, account string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 || parts[0] != "ns" || parts[2] != "sa" {
		return "", "", false
	}
	return parts[1], parts[3], syntax.IsNamespace(parts[1]) && syntax.IsServiceAccount(parts[3])
}

// prefix is everyone with a prefix. Where that says less than a trust domain, it
// is all of those that it may mean.
func (p population) prefix(value string) ([]string, bool) {
	var out []string
	path, own := strings.CutPrefix(value, p.domain)
	switch {
	case own:
		if !isPath(path) {
			return nil, false
		}
		ns, isNamespace := strings.CutPrefix(path, "ns/")
		ns, whole := strings.CutSuffix(ns, "/")
		if isNamespace && whole && syntax.IsNamespace(ns) {
			return []string{"{namespace: " + layout.Scalar(ns) + "}"}, true
		}
		return []string{"{principal: " + layout.Scalar(value+"*") + "}"}, true
	case strings.HasPrefix(p.domain, value):
		out = append(out, "{principal: "+layout.Scalar(p.domain+"*")+"}")
	}
	for _, id := range p.named {
		if strings.HasPrefix(id, value) {
			peer, ok := p.workload(id)
			if !ok {
				return nil, false
			}
			out = append(out, peer)
		}
	}
	return out, true
}

// isPath reports whether the path of a SPIFFE ID may start so.
func isPath(path string) bool {
	outside := func(c rune) bool { return !isLetter(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("._-/", c) }
	return !strings.ContainsFunc(path, outside) && !strings.Contains("/"+path, "//") &&
		!strings.Contains("/"+path, "/./") && !strings.Contains("/"+path, "/../")
}

func isLetter(c rune) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
