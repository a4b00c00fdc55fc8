package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// conditionalDocuments is a small directory with rules whose principals are not
// names and prefixes, in which every part of every rule matters to somebody.
func conditionalDocuments() *syntax.Documents {
	root := "spiffe://" + trustDomain + "/ns/"
	rule := func(action model.Verdict, host string, from ...syntax.Peer) syntax.Rule {
		return syntax.Rule{Action: action, From: from, To: []syntax.To{{Hosts: hosts(patterns(host))}}}
	}
	begin := func(s string) model.PrincipalMatch { return model.PrincipalMatch{Kind: model.MatchPrefix, Value: s} }
	end := func(s string) model.PrincipalMatch { return model.PrincipalMatch{Kind: model.MatchSuffix, Value: s} }
	all := func(m ...model.PrincipalMatch) model.PrincipalTerm { return model.PrincipalTerm{All: m} }
	but := func(t model.PrincipalTerm, m ...model.PrincipalMatch) model.PrincipalTerm {
		t.Not = m
		return t
	}
	where := func(terms ...model.PrincipalTerm) syntax.Peer { return whereMarked(terms) }
	named := syntax.Peer{Principal: spiffeID(trustDomain, "b", "z")}
	docs := exampleDocuments()
	docs.Gateways[0].AllowAny = false
	docs.Policies = []*syntax.EgressPolicy{
		{Meta: syntax.Meta{Name: "p"}, Rules: []syntax.Rule{
			rule(model.Allow, "a.test", where(but(all(begin(root+"a/")), end("/sa/z")), all(begin(root+"b/"), end("x")))),
			rule(model.Allow, "a.test", named),
			rule(model.Allow, "a.test", where(but(all(end("z")), begin(root+"ab/")))),
			rule(model.Allow, "b.test", where(but(all(), begin(root+"b/")))),
			rule(model.Deny, "b.test", where(but(all(end("/sa/xy")), begin(root+"ab/")))),
			rule(model.Deny, "b.test", named, syntax.Peer{Principal: spiffeID(trustDomain, "a", "z")}),
			rule(model.Allow, "c.test", where(all(end("/ns/a/sa/x")))),
			rule(model.Allow, "c.test", where(all(end("x")), all(end("z")))),
			rule(model.Allow, "exported.test", where(all(end("x")))),
			rule(model.Allow, "present.test", where(but(all(begin("")), end("z"), end("/x")))),
		}},
	}
	docs.Destinations = []*syntax.Destination{
		{Meta: syntax.Meta{Name: "exported", Namespace: "a"}, Hosts: hosts(patterns("exported.test")), ExportTo: []string{".", "ab"}},
		{Meta: syntax.Meta{Name: "nobody", Namespace: "a"}, Hosts: hosts(patterns("nobody.test")), ExportTo: []string{toNobody}},
	}
	docs.Policies[0].Rules = append(docs.Policies[0].Rules, rule(model.Allow, "nobody.test", where(all())))
	return docs
}

// disagreement says where the resources are not what the policy says, if the
// tests of this package would find it: by the verdict, or by what the chains
// alone would admit.
func disagreement(g *model.Gateway, res *translate.Resources) string {
	envoy, err := tryRead(res)
	if err != nil {
		return err.Error()
	}
	names := meantNames(g)
	for _, c := range callers(g) {
		for _, name := range names {
			c.from.Hello = &reader.Hello{ServerName: name}
			v, err := envoy.Connect(c.from, publicAddresses)
			if err != nil {
				return err.Error()
			}
			if problem := compare(g, c, name, v); problem != "" {
				return problem
			}
		}
	}
	problem, err := admitted(g, envoy, func() {})
	if err != nil {
		return err.Error()
	}
	return problem
}

// sites are all messages of a type inside of m, m included.
func sites[M proto.Message](m protoreflect.Message) []M {
	var out []M
	if found, ok := m.Interface().(M); ok {
		out = append(out, found)
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				out = append(out, sites[M](v.Message())...)
				return true
			})
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				out = append(out, sites[M](v.List().Get(i).Message())...)
			}
		default:
			out = append(out, sites[M](v.Message())...)
		}
		return true
	})
	return out
}

// spoil is a defect that a translation could have in one place, or nil if the
// place cannot have it.
type spoil func(m proto.Message) (done bool)

// at makes a defect of what changes messages of a type.
func at[M proto.Message](change func(M) bool) spoil {
	return func(m proto.Message) bool {
		typed, ok := m.(M)
		return ok && change(typed)
	}
}

type (
	choice      = *xdsmatcher.Matcher_MatcherList
	condition   = *xdsmatcher.Matcher_MatcherList_Predicate
	orCondition = xdsmatcher.Matcher_MatcherList_Predicate_OrMatcher
	notOf       = xdsmatcher.Matcher_MatcherList_Predicate_NotMatcher
)

func conditionDefects() map[string]spoil {
	return map[string]spoil{
		"choice: not is forgotten": at(func(p condition) bool {
			inner := p.GetNotMatcher()
			if inner == nil {
				return false
			}
			p.MatchType = inner.MatchType
			return true
		}),
		"choice: not, where there is none": at(func(p condition) bool {
			if p.GetNotMatcher() != nil {
				return false
			}
			p.MatchType = &notOf{NotMatcher: proto.CloneOf(p)}
			return true
		}),
		"choice: and becomes or": at(func(p condition) bool {
			all := p.GetAndMatcher()
			if all == nil {
				return false
			}
			p.MatchType = &orCondition{OrMatcher: all}
			return true
		}),
		"choice: or loses one": at(func(p condition) bool {
			all := p.GetOrMatcher()
			if all == nil {
				return false
			}
			p.MatchType = all.GetPredicate()[0].MatchType
			return true
		}),
		"choice: the first comes last": at(func(l choice) bool {
			slices.Reverse(l.Matchers)
			return len(l.Matchers) > 1
		}),
		"choice: the first is forgotten": at(func(l choice) bool {
			l.Matchers = l.Matchers[1:]
			return len(l.Matchers) > 0
		}),
		"choice: a suffix is taken for a prefix": at(func(m *xdsmatcher.StringMatcher) bool {
			value := m.GetSuffix()
			m.MatchPattern = &xdsmatcher.StringMatcher_Prefix{Prefix: value}
			return value != ""
		}),
		"filters: not is forgotten": at(func(p *rbac.Principal) bool {
			inner := p.GetNotId()
			if inner == nil {
				return false
			}
			p.Identifier = inner.Identifier
			return true
		}),
		"filters: and becomes or": at(func(p *rbac.Principal) bool {
			all := p.GetAndIds()
			if all == nil {
				return false
			}
			p.Identifier = &rbac.Principal_OrIds{OrIds: all}
			return true
		}),
		"filters: and loses one": at(func(p *rbac.Principal) bool {
			all := p.GetAndIds()
			if all == nil {
				return false
			}
			all.Ids = all.Ids[1:]
			return true
		}),
		"filters: somebody is forgotten": at(func(p *rbac.Policy) bool {
			p.Principals = p.Principals[1:]
			return len(p.Principals) > 0
		}),
		"filters: a Deny rule is forgotten": at(func(r *rbac.RBAC) bool {
			for name := range r.GetPolicies() {
				delete(r.Policies, name)
				return r.GetAction() == rbac.RBAC_DENY
			}
			return false
		}),
		"filters: a suffix is taken for a prefix": at(func(m *matcher.StringMatcher) bool {
			value := m.GetSuffix()
			m.MatchPattern = &matcher.StringMatcher_Prefix{Prefix: value}
			return value != ""
		}),
	}
}

// spoiltIn are the resources, once for each message in the policy stage that a
// defect can be in, with the defect there.
func spoiltIn(t *testing.T, res *translate.Resources, defect spoil) []*translate.Resources {
	t.Helper()
	var out []*translate.Resources
	replaced := func(i int, l *listeners.Listener) {
		other := *res
		other.Listeners = slices.Clone(res.Listeners)
		other.Listeners[i].Message = l
		out = append(out, &other)
	}
	for i, r := range res.Listeners {
		l := r.Message.(*listeners.Listener)
		if !strings.HasPrefix(l.GetName(), "policy/") {
			continue // originated/ is the same thing again
		}
		for n := range sites[proto.Message](l.GetFilterChainMatcher().ProtoReflect()) {
			spoilt := proto.CloneOf(l)
			if defect(sites[proto.Message](spoilt.GetFilterChainMatcher().ProtoReflect())[n]) {
				replaced(i, spoilt)
			}
		}
		for c, chain := range l.GetFilterChains() {
			for f, filter := range chain.GetFilters() {
				m := &rbacfilter.RBAC{}
				if filter.GetTypedConfig().UnmarshalTo(m) != nil || filter.GetName() == "address_guard" {
					continue
				}
				for n := range sites[proto.Message](m.ProtoReflect()) {
					rules := proto.CloneOf(m)
					if !defect(sites[proto.Message](rules.ProtoReflect())[n]) {
						continue
					}
					spoilt := proto.CloneOf(l)
					spoilt.FilterChains[c].Filters[f].ConfigType = &listeners.Filter_TypedConfig{TypedConfig: packed(t, rules)}
					replaced(i, spoilt)
				}
			}
		}
	}
	return out
}

// What is compared in this package would find every such defect in the rules
// with conditions, wherever it is.
func TestDefectsInConditionsAreFound(t *testing.T) {
	defectsAreFound(t, compiled(t, conditionalDocuments()), conditionDefects(), spoiltIn, disagreement)
}

// defectsAreFound spoils a gateway's resources with each defect, in each place
// where it can be: a comparison must not miss one.
func defectsAreFound(t *testing.T, g *model.Gateway, defects map[string]spoil,
	mutants func(*testing.T, *translate.Resources, spoil) []*translate.Resources, disagreement func(*model.Gateway, *translate.Resources) string,
) {
	t.Helper()
	res := translated(t, g)
	require.Empty(t, disagreement(g, res))
	for name, defect := range defects {
		t.Run(name, func(t *testing.T) {
			all := mutants(t, res, defect)
			require.NotEmpty(t, all)
			for n, spoilt := range all {
				if disagreement(g, spoilt) == "" {
					t.Errorf("the defect is not found in place %d of %d: %s", n, len(all), difference(t, res, spoilt))
				}
			}
		})
	}
}

// difference names the listeners that are not the same.
func difference(t *testing.T, a, b *translate.Resources) string {
	t.Helper()
	var out []string
	for i := range a.Listeners {
		if content(t, a.Listeners[i].Message) != content(t, b.Listeners[i].Message) {
			out = append(out, fmt.Sprint(b.Listeners[i].Message))
		}
	}
	return strings.Join(out, "\n")
}
