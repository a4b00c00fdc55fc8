package suggest

import (
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/diff"
	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Request is what one workload was refused, as it came from the network.
type Request struct {
	// Gateway is the group of gateways.
	Gateway string
	// Principal is a SPIFFE ID, with spiffe://.
	Principal string
	Way       model.Way
	// Host is a server name, or for a request HOST or HOST:PORT.
	Host string
}

// InForce is the policy that there is.
type InForce struct {
	Model     *model.Model
	Tree      source.Tree
	Documents *syntax.Documents
}

// Allowing is a change of the policy that allows one workload one host, and what comes of
// it. It was compiled with all that there is.
type Allowing struct {
	// Before is what the policy in force says, or would if it was enforced.
	Before model.Decision
	// Text is the document, and Place the file that it goes to the end of; New if there is
	// no such file yet.
	Text, Place string
	New         bool
	// Findings are why the directory would be refused with it; empty if it would not be.
	Findings diag.List
	// After is what the policy would say, unless there are Findings.
	After model.Decision
	// By is the rule of the document in that policy, with the position it would have.
	By *model.Rule
	// Changes says what would differ for anybody, and Alone that it is just this workload
	// and this host.
	Changes string
	Alone   bool
	// EndsDefault says that the gateway's defaultAction allows what no rule is about, and
	// that this would end with the first Allow rule.
	EndsDefault bool
}

// Allow suggests the smallest document that allows a workload a host. It is an error if
// there can be none.
func Allow(r Request, in InForce, now time.Time) (*Allowing, error) {
	g, asked, err := r.check(in.Model)
	if err != nil {
		return nil, err
	}
	out := &Allowing{Before: g.Enforcing().Answer(asked)}
	if out.Before.Verdict == model.Allow {
		return out, nil
	}
	out.EndsDefault = !g.HasAllowPolicy && g.DefaultAction == model.Allow
	namespace, peer := peerOf(asked.Principal, in.Model)
	name := nameFor(in.Documents, namespace, asked)
	if out.Text, err = document(namespace, name, peer, asked.Host); err != nil {
		return nil, err
	}
	out.Place, out.New = place(in, namespace, peer)
	if out.New && out.Place == "" {
		out.Place = name + ".yaml"
		if d := delegated(in.Documents, namespace); d != nil {
			out.Place = path.Join(d.Folder, out.Place)
		}
	}
	result := policy.LoadTree(with(in.Tree, out.Place, out.Text), now)
	if result.Model == nil {
		for _, d := range result.Diagnostics {
			if d.Severity == diag.Error {
				out.Findings = append(out.Findings, d)
			}
		}
		return out, nil
	}
	after := result.Model.FindGateway(g.Name)
	if after == nil {
		return nil, errors.New("the policy with the suggestion has no such gateway, which is a defect of this program")
	}
	out.After = after.Enforcing().Answer(asked)
	out.By, _ = after.FindRule(model.RuleID{Namespace: namespace, Policy: name})
	return out, out.compare(in.Model, result.Model, asked)
}

// check finds the gateway, and reads what was asked for. What could mean anything else in
// a policy than just this workload and this host is an error.
func (r Request) check(m *model.Model) (*model.Gateway, model.Request, error) {
	asked := model.Request{Principal: r.Principal, Way: r.Way}
	if m == nil {
		return nil, asked, errors.New("no policy is in force")
	}
	g := m.FindGateway(r.Gateway)
	if g == nil && r.Gateway == "" && len(m.Gateways) == 1 {
		g = m.Gateways[0]
	}
	if g == nil {
		return nil, asked, fmt.Errorf("the policy has no EgressGateway %q", r.Gateway)
	}
	if r.Principal == "" {
		return nil, asked, errors.New("who asked has no identity, and a rule for those is one for everyone: give the workload an identity first")
	}
	if strings.ContainsAny(r.Principal, "*") || !strings.HasPrefix(r.Principal, "spiffe://") {
		return nil, asked, fmt.Errorf("%q is not the SPIFFE ID of a workload", r.Principal)
	}
	if !g.Admits(r.Principal) {
		return nil, asked, fmt.Errorf("there is no workload %q at the gateway, whatever the rules say: %s", r.Principal, model.BadIdentity.Explanation())
	}
	host := r.Host
	if name, port, err := net.SplitHostPort(host); err == nil && r.Way != model.WayTLS {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, asked, fmt.Errorf("%q is no port", port)
		}
		host, asked.Port = name, uint16(n)
	}
	name, err := hostname.FromWire(host)
	if err != nil {
		return nil, asked, fmt.Errorf("no rule can be about %q: %w", host, err)
	}
	if p, err := hostname.ParsePattern(string(name)); err != nil || p != hostname.Exactly(name) {
		return nil, asked, fmt.Errorf("no rule can be about just %q", host)
	}
	asked.Host = name
	return g, asked, nil
}

// peerOf is how a policy of the workload's namespace calls it; without a namespace it
// must be a policy of the platform, which says the whole identity. A service account is
// that of every gateway's trust domain, so it is only written where there is one.
func peerOf(principal string, m *model.Model) (namespace string, peer syntax.Peer) {
	namespace, account := model.Namespace(principal), model.ServiceAccount(principal)
	for _, g := range m.Gateways {
		if !strings.HasPrefix(principal, model.NamespacePrefix(g.TrustDomain, namespace)) {
			return "", syntax.Peer{Principal: principal}
		}
	}
	if namespace == "" {
		return "", syntax.Peer{Principal: principal}
	}
	return namespace, syntax.Peer{ServiceAccount: account}
}

// nameFor is a name for the policy that no other of the namespace has.
func nameFor(docs *syntax.Documents, namespace string, asked model.Request) string {
	account := model.ServiceAccount(asked.Principal)
	if account == "" {
		account = path.Base(asked.Principal)
	}
	const longest = 50
	base := strings.Trim(strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(account+"-"+string(asked.Host))), "-")
	return freeName(docs, namespace, strings.TrimRight(base[:min(len(base), longest)], "-"))
}

// document is the policy, laid out as `sallyport fmt` does.
func document(namespace, name string, peer syntax.Peer, host hostname.Name) (string, error) {
	from := "serviceAccount: " + layout.Scalar(peer.ServiceAccount)
	if peer.Principal != "" {
		from = "principal: " + layout.Scalar(peer.Principal)
	}
	out, err := formatted(layout.Header("EgressPolicy", namespace, name) +
		"  rules:\n  - action: Allow\n    from:\n    - " + from + "\n    to:\n    - hosts:\n      - " + layout.Scalar(string(host)) + "\n")
	if err != nil {
		return "", fmt.Errorf("this cannot be written as a rule: %w", err)
	}
	return out, nil
}

// place is the file that a policy of the namespace goes to: one where this workload is
// spoken of, or where most policies of the namespace are; new if there is none.
func place(in InForce, namespace string, peer syntax.Peer) (file string, isNew bool) {
	type score struct{ own, policies int }
	scores := make(map[string]score)
	for _, p := range in.Documents.Policies {
		if p.Namespace != namespace || !layout.IsYAML(p.Pos.File) {
			continue
		}
		s := scores[p.Pos.File]
		s.policies++
		for _, r := range p.Rules {
			if slices.ContainsFunc(r.From, func(f syntax.Peer) bool {
				return f.Principal == peer.Principal && f.ServiceAccount == peer.ServiceAccount && (f.Namespace == "" || f.Namespace == namespace)
			}) {
				s.own++
			}
		}
		scores[p.Pos.File] = s
	}
	isNew = true
	var best score
	for _, f := range in.Tree.Files { // sorted, so that equals are told apart
		if s, ok := scores[f.Path]; ok && (isNew || s.own > best.own || s.own == best.own && s.policies > best.policies) {
			file, best, isNew = f.Path, s, false
		}
	}
	return file, isNew
}

// with is the directory with the document at the end of a file, or in a new one.
func with(tree source.Tree, file, text string) source.Tree {
	files := slices.Clone(tree.Files)
	i := slices.IndexFunc(files, func(f source.File) bool { return f.Path == file })
	if i < 0 {
		return source.NewTree(append(files, source.File{Path: file, Data: []byte(text)}))
	}
	before := strings.TrimRight(string(files[i].Data), "\n")
	if !strings.HasSuffix(before, "\n---") {
		before += "\n---"
	}
	files[i].Data = []byte(before + "\n" + text)
	return source.NewTree(files)
}

// compare says what else would change.
func (a *Allowing) compare(before, after *model.Model, asked model.Request) error {
	report := diff.Compare(before, after, diff.Options{})
	var b strings.Builder
	if err := report.WriteText(&b, diff.Show{}); err != nil {
		return err
	}
	a.Changes = b.String()
	a.Alone = true
	for _, g := range report.Gateways {
		for _, s := range g.Settings {
			if s.Effect == diff.Widened && !aboutHost(s.Hosts, asked.Host) {
				a.Alone = false
			}
		}
		for _, x := range g.Access {
			for _, p := range x.Principals {
				if p.Exact != asked.Principal {
					a.Alone = false
				}
			}
			if x.Kind != diff.Gained || !aboutHost(x.Hosts, asked.Host) {
				a.Alone = false
			}
		}
	}
	return nil
}

// aboutHost reports whether regions are just the host.
func aboutHost(all []diff.Region, host hostname.Name) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(r diff.Region) bool { return r.Pattern != hostname.Exactly(host) })
}
