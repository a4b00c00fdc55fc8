package translate

import (
	"fmt"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// Names that several stages, the bootstrap and the logs agree on.
const (
	// PrincipalKey is the filter state that the entry stage writes the
	// workload's SPIFFE ID to; absent for the anonymous principal.
	PrincipalKey = "sallyport.principal"
	// SourceKey is the filter state with the workload's address: the later
	// stages only see an internal address.
	SourceKey = "sallyport.source"
	// ConnectionKey is the filter state with an identifier that the log lines
	// of one connection share across the stages.
	ConnectionKey = "sallyport.connection"

	// RefusedChain is the filter chain of every connection without a grant.
	RefusedChain = "refused"
	// PrivateAddress is the RBAC policy that names a refusal by the address
	// guard.
	PrivateAddress = "private-address"
	// NoAddress is the RBAC policy that refuses a name that did not resolve.
	NoAddress = "no-address"
	// NoRoute is the RBAC policy that refuses a request which is neither CONNECT
	// nor for a path.
	NoRoute = "no-route"

	routeName        = "route"
	originatedName   = "originated"
	refusedCluster   = "refused"
	gatewaySecret    = "gateway"
	trustSecret      = "trust"
	defaultGrantName = "default-action"
	auditGrantName   = string(model.AuditMode)

	// The chains of the entries that ask for a certificate.
	mutualTLSChain = "mutual-tls"
	httpChain      = "http"
)

// StageOf names the stage whose internal listener this is, as the log does; empty if
// it is none's.
func StageOf(listener string) string {
	workload, originated := workloadStages(), originatedStages()
	switch {
	case listener == workload.route:
		return workload.routeLog
	case strings.HasPrefix(listener, workload.prefix):
		return workload.policyLog
	case listener == originated.route:
		return originated.routeLog
	case strings.HasPrefix(listener, originated.prefix):
		return originated.policyLog
	default:
		return ""
	}
}

func entryName(l model.Listener) string { return "entry/" + l.Name }

// AsksWho reports whether a chain is that of an entry which asks for a certificate. Of
// the entries, only those and the ones that take the route stage's place write a line.
func AsksWho(chain string) bool { return chain == mutualTLSChain || chain == httpChain }

func policyName(bucket string) string { return "policy/" + bucket }

// GrantName names the filter chain of a grant,
// HOST|ns[NS]-policy[NAME]-rule[N]|PRINCIPAL, so that Envoy's own
// %FILTER_CHAIN_NAME% says what allowed a connection. A nil rule is the
// gateway's defaultAction.
func GrantName(p hostname.Pattern, rule *model.Rule, whom string) string {
	if rule == nil {
		return p.String() + "|" + defaultGrantName + "|" + whom
	}
	return p.String() + "|" + rule.ID.String() + "|" + whom
}

// auditName names the filter chain of what a group in mode Audit lets through although
// no grant is for it: of an entry that has its own, or of the others in a bucket.
func auditName(p hostname.Pattern) string { return p.String() + "|" + auditGrantName + "|*" }

// sharedAuditName is that of the others.
const sharedAuditName = "*|" + auditGrantName + "|shared"

// Grant is what the name of a grant's filter chain says.
type Grant struct {
	// Pattern is the host pattern whose entry decided, as it is written; with Audit it may
	// be a wider one.
	Pattern string
	// Rule allowed the connection; nil is the gateway's defaultAction, or with Audit its
	// mode.
	Rule  *model.RuleID
	Audit bool
	// Whom is the element of the rule's principals that matched, `*` for a
	// grant to everyone, `#N` for a share of a rule with very many, or `where`
	// for all of a rule whose principals are not names and prefixes.
	Whom string
}

// ParseGrantName reads what GrantName wrote. It is an error for the names of
// other filter chains.
func ParseGrantName(chain string) (Grant, error) {
	// None of the three parts has a | in it: host patterns and principals have
	// a grammar without it, and so have the names of policies.
	parts := strings.Split(chain, "|")
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return Grant{}, fmt.Errorf("%q is not the filter chain of a grant", chain)
	}
	g := Grant{Pattern: parts[0], Whom: parts[2]}
	if g.Audit = parts[1] == auditGrantName; g.Audit || parts[1] == defaultGrantName {
		return g, nil
	}
	id, err := model.ParseRuleID(parts[1])
	if err != nil {
		return Grant{}, fmt.Errorf("%q is not the filter chain of a grant: %w", chain, err)
	}
	g.Rule = &id
	return g, nil
}
