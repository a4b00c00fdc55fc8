package model_test

import (
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

const (
	us = "spiffe://td/ns/default/sa/us"
	ca = "spiffe://td/ns/default/sa/ca"
)

func pattern(s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	if err != nil {
		panic(err)
	}
	return p
}

func match(s string) model.PrincipalMatch {
	if s == "*" {
		return model.PrincipalMatch{Kind: model.MatchAny}
	}
	if prefix, ok := strings.CutSuffix(s, "*"); ok {
		return model.PrincipalMatch{Kind: model.MatchPrefix, Value: prefix}
	}
	return model.PrincipalMatch{Kind: model.MatchExact, Value: s}
}

func id(policy string, index int) model.RuleID {
	return model.RuleID{Namespace: "default", Policy: policy, Index: index}
}

// rule is for one principal match, about hosts and, after "!", exceptions.
func rule(policy string, action model.Verdict, who string, hosts ...string) *model.Rule {
	var to model.To
	for _, h := range hosts {
		if x, ok := strings.CutPrefix(h, "!"); ok {
			to.Except = append(to.Except, pattern(x))
		} else {
			to.Hosts = append(to.Hosts, pattern(h))
		}
	}
	return &model.Rule{
		ID: id(policy, 0), Action: action, From: []model.PrincipalMatch{match(who)}, To: []model.To{to},
		Origin: diag.Position{File: policy + ".yaml", Line: 7, Column: 5}, Registers: action == model.Allow,
	}
}

// entry has the rules given; it is registered.
func entry(p string, rules ...*model.Rule) *model.Entry {
	return &model.Entry{
		Pattern: pattern(p), Registered: true, RegisteredBy: "Destination d",
		RegisteredAt: diag.Position{File: "d.yaml", Line: 4, Column: 3}, Dial: model.Dial{Port: 443}, Rules: rules,
	}
}

func indexed(g *model.Gateway) *model.Gateway {
	g.Index()
	return g
}

func ids(rules []*model.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.ID.Policy)
	}
	return out
}
