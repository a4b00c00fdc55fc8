package model

import (
	"fmt"
	"strconv"
	"strings"
)

// RuleID names a rule in logs, in Envoy's filter chains and in RBAC policies.
type RuleID struct {
	Namespace string `json:"namespace"`
	Policy    string `json:"policy"`
	Index     int    `json:"rule"`
}

// String is the form that Istio made known: ns[NS]-policy[NAME]-rule[N].
func (id RuleID) String() string {
	return "ns[" + id.Namespace + "]-policy[" + id.Policy + "]-rule[" + strconv.Itoa(id.Index) + "]"
}

// Compare orders IDs as their texts are ordered. Most differ early, so that
// seldom a text has to be made.
func (id RuleID) Compare(other RuleID) int {
	if id == other {
		return 0
	}
	for _, part := range [][2]string{{id.Namespace, other.Namespace}, {id.Policy, other.Policy}} {
		a, b := part[0], part[1]
		if a == b {
			continue
		}
		if n := min(len(a), len(b)); a[:n] != b[:n] {
			return strings.Compare(a, b)
		}
		break // what follows the shorter one decides
	}
	return strings.Compare(id.String(), other.String())
}

// ParseRuleID reads what String wrote.
func ParseRuleID(s string) (RuleID, error) {
	rest, ok := strings.CutPrefix(s, "ns[")
	ns, rest, ok2 := strings.Cut(rest, "]-policy[")
	name, rest, ok3 := strings.Cut(rest, "]-rule[")
	index, ok4 := strings.CutSuffix(rest, "]")
	n, err := strconv.Atoi(index)
	if !ok || !ok2 || !ok3 || !ok4 || err != nil || n < 0 || strconv.Itoa(n) != index {
		return RuleID{}, fmt.Errorf("%q is not a rule name of the form ns[NAMESPACE]-policy[NAME]-rule[N]", s)
	}
	return RuleID{Namespace: ns, Policy: name, Index: n}, nil
}
