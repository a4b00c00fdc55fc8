package istioreader

import (
	"slices"
	"strconv"
	"strings"
)

// ruleMatches: "A match occurs when at least one source, one operation and all
// conditions matches the request."
func ruleMatches(w Workload, namespace, action string, rule map[string]any, r Request) bool {
	m := matcher{w: w, namespace: namespace, r: r}
	if !r.HTTP && action == "ALLOW" && mentionsHTTP(rule) {
		return false // "Istio ignores the invalid ALLOW rule"
	}
	from, to := list(rule["from"]), list(rule["to"])
	return (len(from) == 0 || slices.ContainsFunc(from, m.source)) &&
		(len(to) == 0 || slices.ContainsFunc(to, m.operation)) &&
		!slices.ContainsFunc(list(rule["when"]), func(c any) bool { return !m.condition(c) })
}

func mentionsHTTP(rule map[string]any) bool {
	return slices.ContainsFunc(list(rule["to"]), func(to any) bool {
		o := object(object(to)["operation"])
		return o["hosts"] != nil || o["notHosts"] != nil
	})
}

type matcher struct {
	w         Workload
	namespace string // the policy's
	r         Request
}

// source: "Fields in the source are ANDed together."
func (m matcher) source(from any) bool {
	s := object(object(from)["source"])
	for field, values := range s {
		name, negative := positive(field)
		attribute, ok := map[string]string{
			"principals": "source.principal", "namespaces": "source.namespace",
			"serviceAccounts": "source.serviceAccount", "trustDomains": "source.trustDomain",
		}[name]
		if !ok {
			panic("field " + field)
		}
		if m.oneOf(attribute, values) == negative {
			return false
		}
	}
	return true
}

// positive turns notValues into values.
func positive(field string) (string, bool) {
	if rest, ok := strings.CutPrefix(field, "not"); ok {
		return strings.ToLower(rest[:1]) + rest[1:], true
	}
	return field, false
}

func (m matcher) operation(to any) bool {
	for field, values := range object(object(to)["operation"]) {
		name, negative := positive(field)
		switch name {
		case "ports":
			if slices.Contains(list(values), any(strconv.Itoa(m.r.Port))) == negative {
				return false
			}
		case "hosts":
			// Only HTTP has hosts. Elsewhere the field "cannot be processed", and
			// "for a DENY rule, missing attributes are treated as matches".
			if m.r.HTTP && m.host(values) == negative {
				return false
			}
		default:
			panic("field " + field)
		}
	}
	return true
}

// host: "The match is case-insensitive", and with all of what is asked for,
// so that a port needs a match of its own.
func (m matcher) host(values any) bool {
	return slices.ContainsFunc(list(values), func(v any) bool {
		return match(strings.ToLower(v.(string)), strings.ToLower(m.r.Authority))
	})
}

func (m matcher) condition(c any) bool {
	o := object(c)
	key := o["key"].(string)
	if v, ok := o["values"]; ok && !m.oneOf(key, v) {
		return false
	}
	v, ok := o["notValues"]
	return !ok || !m.oneOf(key, v)
}

// oneOf reports whether the attribute is one of the values.
func (m matcher) oneOf(attribute string, values any) bool {
	return slices.ContainsFunc(list(values), func(v any) bool { return m.is(attribute, v.(string)) })
}

// is compares an attribute with a value.
func (m matcher) is(attribute, value string) bool {
	id, hasID := strings.CutPrefix(m.r.Principal, "spiffe://")
	// "The peer identity is in the format of TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT".
	parts := strings.Split(id, "/")
	isWorkload := hasID && len(parts) == 5 && parts[1] == "ns" && parts[3] == "sa"
	switch attribute {
	case "connection.sni":
		return match(value, m.r.SNI)
	case "source.principal":
		return match(m.mesh(value), id)
	case "source.namespace":
		return isWorkload && match(value, parts[2])
	case "source.trustDomain":
		return isWorkload && match(value, parts[0])
	case "source.serviceAccount":
		if !strings.Contains(value, "/") {
			value = m.namespace + "/" + value
		}
		return isWorkload && value == parts[2]+"/"+parts[4]
	default:
		panic("attribute " + attribute)
	}
}

// mesh: "in authorization policy, cluster.local is a pointer that points to the
// current trust domain", where it stands for one.
func (m matcher) mesh(principal string) string {
	parts := strings.Split(principal, "/")
	if len(parts) == 5 && parts[0] == "cluster.local" {
		parts[0] = m.w.TrustDomain
	}
	return strings.Join(parts, "/")
}

// match: "Exact match: abc will match on value abc. Prefix match: abc* will
// match on value abc and abcd. Suffix match: *abc will match on value abc and
// xabc. Presence match: * will match when value is not empty."
func match(pattern, value string) bool {
	switch {
	case pattern == "*":
		return value != ""
	case strings.HasPrefix(pattern, "*"):
		return value != "" && strings.HasSuffix(value, pattern[1:])
	case strings.HasSuffix(pattern, "*"):
		return value != "" && strings.HasPrefix(value, pattern[:len(pattern)-1])
	default:
		return pattern == value
	}
}
