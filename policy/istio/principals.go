package istio

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// whoKind is what about a principal a value is compared with.
type whoKind int

const (
	// principalName is the identity without spiffe://.
	principalName whoKind = iota
	namespaceName
	accountName
	domainName
)

func kindOfKey(key string) whoKind {
	switch key {
	case syntax.KeyNamespace:
		return namespaceName
	case syntax.KeyServiceAccount:
		return accountName
	case syntax.KeyTrustDomain:
		return domainName
	default:
		return principalName
	}
}

// form is how a value is compared: Istio's exact, prefix, suffix and presence
// match.
type form int

const (
	exact form = iota
	prefix
	suffix
	presence
)

// whoValue is a value that says who, as it is written, with the * apart.
type whoValue struct {
	kind  whoKind
	form  form
	value string
	text  syntax.Text
}

// values reads values that say who.
func (p *parser) values(kind whoKind, list []syntax.Text) []whoValue {
	var out []whoValue
	for _, t := range list {
		v := whoValue{kind: kind, text: t}
		if err := v.read(); err != nil {
			p.diags.Errorf(t.Pos, "bad-principal", "%v", err)
			continue
		}
		out = append(out, v)
	}
	return out
}

func (v *whoValue) read() error {
	s := v.text.Value
	switch stars := strings.Count(s, "*"); {
	case s == "*":
		v.form = presence
	case stars > 1, stars == 1 && !strings.HasPrefix(s, "*") && !strings.HasSuffix(s, "*"):
		return fmt.Errorf("%q matches nobody as it is written: one * may stand at the start, or at the end, or alone", s)
	case strings.HasPrefix(s, "*"):
		v.form, v.value = suffix, s[1:]
	case strings.HasSuffix(s, "*"):
		v.form, v.value = prefix, s[:len(s)-1]
	default:
		v.value = s
	}
	switch v.kind {
	case namespaceName:
		return v.checkNamespace()
	case accountName:
		return v.checkAccount()
	case domainName:
		return v.checkDomain()
	default:
		return v.checkPrincipal()
	}
}

func (v *whoValue) checkPrincipal() error {
	s := v.text.Value
	if rest, ok := strings.CutPrefix(s, "spiffe://"); ok {
		return fmt.Errorf("%q matches nobody: Istio's principals are written without spiffe://, as %s", s, rest)
	}
	if v.form == presence {
		return nil
	}
	domain, _, hasPath := strings.Cut(v.value, "/")
	whole := v.value // parts of the path that nothing can be added to
	if v.form != prefix {
		whole += "/"
	}
	switch {
	case strings.ContainsFunc(v.value, func(c rune) bool { return !inPath(c) && c != '/' }),
		strings.Contains(whole, "//"), strings.Contains(whole, "/./"), strings.Contains(whole, "/../"):
		return fmt.Errorf("%q matches nobody: no SPIFFE ID is like that; write TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", s)
	case v.form == suffix:
		return nil
	case domain == "", strings.ContainsFunc(domain, func(c rune) bool { return !inDomain(c) }):
		return fmt.Errorf("%q matches nobody: it starts with no trust domain; write TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", s)
	case v.form == exact && !hasPath:
		return fmt.Errorf("%q matches nobody: it is a trust domain without a workload; write %s/ns/NAMESPACE/sa/SERVICE-ACCOUNT", s, domain)
	}
	return nil
}

// checkNamespace refuses suffixes: Istio's expression for them, .*/ns/.*abc/.*,
// is also about the service account's part of the identity, and there is no
// prefix or suffix of the whole identity that is the same.
func (v *whoValue) checkNamespace() error {
	if v.form == suffix {
		return fmt.Errorf("%q cannot be honoured: a namespace cannot be matched by its end; name the namespaces, or use a prefix", v.text.Value)
	}
	if strings.ContainsFunc(v.value, func(c rune) bool { return !inLabel(c) }) || len(v.value) > 63 || strings.HasPrefix(v.value, "-") {
		return fmt.Errorf("%q matches nothing: a namespace has lower-case letters, digits and hyphens, and at most 63 of them", v.text.Value)
	}
	return nil
}

func (v *whoValue) checkAccount() error {
	s := v.text.Value
	ns, account, both := strings.Cut(s, "/")
	if !both {
		ns, account = "", s
	}
	notLabel := func(c rune) bool { return !inLabel(c) }
	switch {
	case v.form != exact:
		return fmt.Errorf("%q has a *: Istio takes service accounts as a whole; use principals", s)
	case both && ns == "", account == "", strings.Contains(account, "/"):
		return fmt.Errorf("%q is not a service account: write NAME or NAMESPACE/NAME", s)
	case strings.ContainsFunc(ns, notLabel), strings.ContainsFunc(strings.ReplaceAll(account, ".", ""), notLabel), strings.Trim(account, ".") == "":
		return fmt.Errorf("%q is not a service account: a name has lower-case letters, digits, dots and hyphens", s)
	}
	return nil
}

func (v *whoValue) checkDomain() error {
	if strings.ContainsFunc(v.value, func(c rune) bool { return !inDomain(c) }) {
		return fmt.Errorf("%q matches nothing: a trust domain has lower-case letters, digits, and . _ -", v.text.Value)
	}
	return nil
}

// The characters of SPIFFE IDs (the SPIFFE-ID standard, section 2) and of
// Kubernetes' names.
func inLabel(c rune) bool  { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' }
func inDomain(c rune) bool { return inLabel(c) || c == '.' || c == '_' }
func inPath(c rune) bool   { return inDomain(c) || 'A' <= c && c <= 'Z' }

// who resolves whom a rule speaks for, as Rule.From and Rule.Who; nobody if
// from is empty.
func (g *gatewayContext) who(r *rule, namespace string, diags *diag.List) (from []model.PrincipalMatch, who model.Who) {
	resolve := func(s subject) (in, not []matches) {
		for _, list := range s.in {
			in = append(in, g.resolve(list, namespace, diags))
		}
		return in, []matches{g.resolve(s.not, namespace, diags)}
	}
	var all people
	whenIn, whenNot := resolve(r.when)
	for _, s := range r.from {
		in, not := resolve(s)
		if !all.add(slices.Concat(in, whenIn), slices.Concat(not, whenNot)) {
			diags.Errorf(r.pos, "too-complex", "it takes too many terms to say whom this rule is about: split the rule")
			return nil, nil
		}
	}
	return all.result()
}
