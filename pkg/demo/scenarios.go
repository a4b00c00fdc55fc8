package demo

import (
	"sallyport/pkg/lab"
	"sallyport/policy/model"
)

// Scenario is a policy and what must happen under it.
type Scenario struct {
	// Name is a letter, as the scenarios are known by.
	Name  string
	Title string
	// Policy is the whole policy besides the gateway, file by file. What an
	// earlier scenario left is removed.
	Policy func(s *Stack) map[string]string
	Steps  []Step
}

// Step is one attempt, or one edit.
type Step struct {
	// Who is a service account with a proxy; "" is an app without a certificate
	// that speaks to the gateway itself.
	Who  string
	Host string
	// Via is how it asks. In other ways than TLS an app with a certificate speaks
	// to the gateway's HTTP listener itself.
	Via model.Way
	// Reaches is the site that must answer; "" is that the connection must be
	// refused, before any DNS query and any SYN.
	Reaches string
	// Reason is what the log must give for a refusal.
	Reason string
	// Rule is what the log must name, for either verdict; not checked if empty.
	Rule string

	// Edit replaces a policy file (or removes it, if it returns ""); the step is
	// then over when the attempts that follow see it.
	Edit func(s *Stack) (file, content string)
	// Says is what a person reads about the edit.
	Says string
	// Hold opens connections that later steps look at, one Hold per host.
	Hold []lab.Mode
	// Closed and Kept are hosts whose held connections must have been closed, or
	// must still be open.
	Closed, Kept []string
}

// The sites of the pretend internet.
const (
	en     = "en.wikipedia.org"
	de     = "de.wikipedia.org"
	es     = "es.wikipedia.org"
	fr     = "fr.wikipedia.org"
	www    = "www.wikipedia.org"
	google = "www.google.com"
)

// Scenarios are those of the documents that sallyport came from.
func Scenarios() []Scenario {
	return []Scenario{monitoring(), exceptEnglish(), byIdentity(), denied(), arbitrary(), commonServer(), live(), proxy(), istio()}
}

const (
	us     = "sleep-us"
	canada = "sleep-canada"
)

func egressPolicy(name, rules string) string {
	return `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: ` + name + `, namespace: default}
spec:
  owner: team-atlas@example.com
  rules:
` + rules
}

func allowed(who, host, rule string) Step {
	return Step{Who: who, Host: host, Reaches: host, Reason: "allow-rule", Rule: rule}
}

func refused(who, host, reason string) Step { return Step{Who: who, Host: host, Reason: reason} }

func wikipediaAtPort(s *Stack) string { return s.Destination("wikipedia", "", "*.wikipedia.org") }

func monitoring() Scenario {
	return Scenario{
		Name: "A", Title: "Monitoring: every connection gives one line, with who, where, why and which rule",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"wikipedia.yaml": wikipediaAtPort(s),
				"monitoring.yaml": egressPolicy("everybody", `  - action: Allow
    to: [{hosts: ["*.wikipedia.org"]}]
`),
			}
		},
		Steps: []Step{
			allowed(us, en, "ns[default]-policy[everybody]-rule[0]"),
			allowed(us, de, "ns[default]-policy[everybody]-rule[0]"),
			allowed(canada, es, "ns[default]-policy[everybody]-rule[0]"),
			allowed(canada, fr, "ns[default]-policy[everybody]-rule[0]"),
			refused(us, google, "host-not-registered"),
		},
	}
}

func exceptEnglish() Scenario {
	return Scenario{
		Name: "B", Title: "All of *.wikipedia.org, except Wikipedia in English",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"wikipedia.yaml": wikipediaAtPort(s),
				"except-english.yaml": egressPolicy("except-english", `  - action: Allow
    to: [{hosts: ["*.wikipedia.org"], except: [en.wikipedia.org]}]
  tests:
  - {from: {serviceAccount: sleep-us}, host: en.wikipedia.org, expect: Deny}
  - {from: {serviceAccount: sleep-us}, host: de.wikipedia.org, expect: Allow}
`),
			}
		},
		Steps: []Step{
			refused(us, en, "no-allow-rule"),
			allowed(us, de, "ns[default]-policy[except-english]-rule[0]"),
			allowed(us, es, "ns[default]-policy[except-english]-rule[0]"),
		},
	}
}

func byIdentity() Scenario {
	return Scenario{
		Name: "C", Title: "By identity: sleep-us reaches English and Spanish, sleep-canada English and French",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"wikipedia.yaml": wikipediaAtPort(s),
				"by-identity.yaml": egressPolicy("by-identity", `  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [en.wikipedia.org, es.wikipedia.org]}]
  - action: Allow
    from: [{serviceAccount: sleep-canada}]
    to: [{hosts: [en.wikipedia.org, fr.wikipedia.org]}]
`),
			}
		},
		Steps: []Step{
			allowed(us, en, "ns[default]-policy[by-identity]-rule[0]"),
			refused(us, de, "no-allow-rule"),
			allowed(us, es, "ns[default]-policy[by-identity]-rule[0]"),
			refused(us, fr, "no-allow-rule"),
			allowed(canada, en, "ns[default]-policy[by-identity]-rule[1]"),
			refused(canada, de, "no-allow-rule"),
			refused(canada, es, "no-allow-rule"),
			allowed(canada, fr, "ns[default]-policy[by-identity]-rule[1]"),
			refused("", en, "tls-handshake"),
		},
	}
}

func denied() Scenario {
	return Scenario{
		Name: "D", Title: "A Deny rule beats an Allow rule, and the log names it, with file and line",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"wikipedia.yaml": wikipediaAtPort(s),
				"everybody.yaml": egressPolicy("everybody", `  - action: Allow
    to: [{hosts: ["*.wikipedia.org"]}]
`),
				"no-french.yaml": egressPolicy("no-french", `  - action: Deny
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [fr.wikipedia.org]}]
`),
			}
		},
		Steps: []Step{
			{Who: us, Host: fr, Reason: "deny-rule", Rule: "ns[default]-policy[no-french]-rule[0]"},
			allowed(canada, fr, "ns[default]-policy[everybody]-rule[0]"),
			allowed(us, de, "ns[default]-policy[everybody]-rule[0]"),
		},
	}
}

func arbitrary() Scenario {
	return Scenario{
		Name: "E", Title: "Arbitrary wildcards: *.org goes to the host that the connection names",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"org.yaml": s.Destination("org", "", "*.org"),
				"any-org.yaml": egressPolicy("any-org", `  - action: Allow
    to: [{hosts: ["*.org"]}]
`),
			}
		},
		Steps: []Step{
			allowed(us, en, "ns[default]-policy[any-org]-rule[0]"),
			allowed(us, www, "ns[default]-policy[any-org]-rule[0]"),
			refused(us, google, "host-not-registered"),
		},
	}
}

func commonServer() Scenario {
	to := func(host string) Step {
		s := allowed(us, host, "ns[default]-policy[everybody]-rule[0]")
		s.Reaches = www
		return s
	}
	return Scenario{
		Name: "E2", Title: "A common server: all of *.wikipedia.org goes to www.wikipedia.org",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"wikipedia.yaml": s.Destination("wikipedia", "host: www.wikipedia.org", "*.wikipedia.org"),
				"everybody.yaml": egressPolicy("everybody", `  - action: Allow
    to: [{hosts: ["*.wikipedia.org"]}]
`),
			}
		},
		Steps: []Step{to(en), to(de), to(fr)},
	}
}

func live() Scenario {
	english := func(hosts string) func(*Stack) (string, string) {
		return func(*Stack) (string, string) {
			return "live.yaml", egressPolicy("live", `  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [`+hosts+`]}]
`)
		}
	}
	return Scenario{
		Name: "F", Title: "Edits while connections are open: a revocation closes what it revokes, and nothing else",
		Policy: func(s *Stack) map[string]string {
			file, content := english("en.wikipedia.org, es.wikipedia.org")(s)
			return map[string]string{"wikipedia.yaml": wikipediaAtPort(s), file: content}
		},
		Steps: []Step{
			allowed(us, en, ""),
			{Who: us, Host: en, Hold: []lab.Mode{lab.Active, lab.Idle, lab.HalfOpen}},
			{Who: us, Host: es, Hold: []lab.Mode{lab.Active, lab.Idle}},
			refused(us, fr, "no-allow-rule"),
			{Says: "French is added", Edit: english("en.wikipedia.org, es.wikipedia.org, fr.wikipedia.org")},
			allowed(us, fr, "ns[default]-policy[live]-rule[0]"),
			{Kept: []string{en, es}},
			{Says: "English is taken away", Edit: english("es.wikipedia.org, fr.wikipedia.org")},
			refused(us, en, "no-allow-rule"),
			{Closed: []string{en}, Kept: []string{es}},
			{Says: "the policy is deleted", Edit: func(*Stack) (string, string) { return "live.yaml", "" }},
			{Who: us, Host: es, Reason: "default-action"},
			{Closed: []string{es}},
		},
	}
}
