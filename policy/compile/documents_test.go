package compile_test

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// now is the moment at which the tests compile.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// places gives everything that is built a line of its own, so that every
// diagnostic can be told from the others.
type places struct{ line int }

func (p *places) next() diag.Position {
	p.line++
	return diag.Position{File: "test.yaml", Line: p.line, Column: 1}
}

func (p *places) meta(fullName string) syntax.Meta {
	namespace, name, ok := strings.Cut(fullName, "/")
	if !ok {
		namespace, name = "", fullName
	}
	return syntax.Meta{Name: name, Namespace: namespace, Pos: p.next(), NamePos: p.next()}
}

func (p *places) hosts(patterns []string) []syntax.Host {
	var out []syntax.Host
	for _, s := range patterns {
		pattern, err := hostname.ParsePattern(s)
		if err != nil {
			panic(err)
		}
		out = append(out, syntax.Host{Pattern: pattern, Pos: p.next()})
	}
	return out
}

// to is hosts and, after "!", exceptions.
func (p *places) to(patterns ...string) syntax.To {
	var hosts, except []string
	for _, s := range patterns {
		if x, ok := strings.CutPrefix(s, "!"); ok {
			except = append(except, x)
		} else {
			hosts = append(hosts, s)
		}
	}
	return syntax.To{Hosts: p.hosts(hosts), Except: p.hosts(except), Pos: p.next()}
}

// peer reads "sa:NAME", "sa:NAMESPACE/NAME", "ns:NAME" or a principal.
func (p *places) peer(s string) syntax.Peer {
	out := syntax.Peer{Pos: p.next()}
	if rest, ok := strings.CutPrefix(s, "sa:"); ok {
		if ns, sa, ok := strings.Cut(rest, "/"); ok {
			out.Namespace, out.ServiceAccount = ns, sa
		} else {
			out.ServiceAccount = rest
		}
	} else if ns, ok := strings.CutPrefix(s, "ns:"); ok {
		out.Namespace = ns
	} else {
		out.Principal = s
	}
	return out
}

func (p *places) rule(action model.Verdict, from string, to ...syntax.To) syntax.Rule {
	r := syntax.Rule{Action: action, To: to, Pos: p.next()}
	for _, s := range strings.Fields(from) {
		r.From = append(r.From, p.peer(s))
	}
	return r
}

func (p *places) allow(from string, patterns ...string) syntax.Rule {
	return p.rule(model.Allow, from, p.to(patterns...))
}

func (p *places) deny(from string, patterns ...string) syntax.Rule {
	return p.rule(model.Deny, from, p.to(patterns...))
}

func (p *places) policy(fullName string, rules ...syntax.Rule) *syntax.EgressPolicy {
	return &syntax.EgressPolicy{Meta: p.meta(fullName), Rules: rules}
}

func (p *places) destination(fullName string, patterns ...string) *syntax.Destination {
	return &syntax.Destination{Meta: p.meta(fullName), Hosts: p.hosts(patterns), Port: 443, ExportToPos: p.next()}
}

func (p *places) gateway(name string) *syntax.EgressGateway {
	return &syntax.EgressGateway{Meta: p.meta(name), TrustDomain: "td"}
}

func (p *places) test(from, host string, expect model.Verdict) syntax.Test {
	t := syntax.Test{Host: hostname.Name(host), Expect: expect, Pos: p.next()}
	if from != "" {
		t.From = p.peer(from)
	}
	return t
}

// documents sorts documents into their lists.
func documents(docs ...any) *syntax.Documents {
	out := &syntax.Documents{}
	for _, d := range docs {
		switch d := d.(type) {
		case *syntax.EgressPolicy:
			out.Policies = append(out.Policies, d)
		case *syntax.Destination:
			out.Destinations = append(out.Destinations, d)
		case *syntax.EgressGateway:
			out.Gateways = append(out.Gateways, d)
		default:
			panic(fmt.Sprintf("not a document: %T", d))
		}
	}
	return out
}

// codes are the codes of the diagnostics with their severities.
func codes(list diag.List) []string {
	var out []string
	for _, d := range list {
		out = append(out, d.Severity.String()+" "+d.Code)
	}
	return out
}

// difference compares models or gateways, leaving out what Index makes and the
// named fields of gateways.
func difference[T any](a, b T, except ...string) string {
	return cmp.Diff(a, b, cmpopts.IgnoreUnexported(model.Gateway{}), cmpopts.IgnoreFields(model.Gateway{}, except...),
		cmpopts.EquateComparable(hostname.Pattern{}, netip.Addr{}, netip.Prefix{}, netip.AddrPort{}))
}

// decoded reads documents as they are written, in the file test.yaml.
func decoded(t *testing.T, text string) *syntax.Documents {
	t.Helper()
	var d syntax.Decoder
	docs, diags := d.Decode([]source.File{{Path: "test.yaml", Data: []byte(text), Digest: sha256.Sum256([]byte(text))}})
	require.NoError(t, diags.Err())
	return docs
}
