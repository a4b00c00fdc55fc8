// Package istio gives Istio's documents their meaning: what they say about one
// group of gateways, in the terms of the model. What cannot be honoured exactly
// is an error with its position; nothing is read more weakly than Istio reads it.
package istio

import (
	"sallyport/policy/model"
)

// RuleSet is what the AuthorizationPolicies say at one gateway.
type RuleSet struct {
	// Rules are those of all policies that apply to the gateway, the audited ones
	// too (Rule.Audit). A rule of a policy may stand here as several rules with
	// one ID.
	Rules []*model.Rule
	// HasAllowPolicy says that an ALLOW policy applies, be it one without rules;
	// HasAuditAllowPolicy says it of those that are only tried (dry-run).
	HasAllowPolicy      bool
	HasAuditAllowPolicy bool
}
