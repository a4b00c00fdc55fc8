package demo

import (
	"fmt"

	"sallyport/policy/model"
)

// via is a step that asks in another way.
func (s Step) via(w model.Way) Step {
	s.Via = w
	return s
}

func proxy() Scenario {
	return Scenario{
		Name: "G", Title: "HTTPS_PROXY: an app with a certificate and no proxy of its own; plain HTTP leaves as TLS, or not at all",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"english.yaml": s.Destination("english", "", en) + "  tls: Originate\n",
				"others.yaml":  s.Destination("others", "", es, fr),
				"by-identity.yaml": egressPolicy("by-identity", `  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [en.wikipedia.org, es.wikipedia.org]}]
`),
			}
		},
		Steps: []Step{
			allowed(us, en, "ns[default]-policy[by-identity]-rule[0]").via(model.WayConnect),
			refused(us, fr, "no-allow-rule").via(model.WayConnect),
			refused(canada, en, "no-allow-rule").via(model.WayConnect),
			allowed(us, en, "ns[default]-policy[by-identity]-rule[0]").via(model.WayHTTP),
			refused(us, es, "tls-not-originated").via(model.WayHTTP),
			refused(canada, en, "no-allow-rule").via(model.WayHTTP),
		},
	}
}

func istio() Scenario {
	const denied = "ns[istio-system]-policy[deny-german]-rule[0]"
	return Scenario{
		Name: "H", Title: "The same in Istio's words: ServiceEntry, DestinationRule and AuthorizationPolicy, without Istio",
		Policy: func(s *Stack) map[string]string {
			return map[string]string{
				"serviceentry.yaml": fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wikipedia, namespace: istio-system}
spec:
  hosts: [en.wikipedia.org, de.wikipedia.org]
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: %[1]d}
  - {number: 443, name: tls, protocol: TLS, targetPort: %[1]d}
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: english, namespace: istio-system}
spec:
  host: en.wikipedia.org
  trafficPolicy:
    portLevelSettings:
    - {port: {number: 80}, tls: {mode: SIMPLE}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: german, namespace: istio-system}
spec:
  host: de.wikipedia.org
  trafficPolicy:
    portLevelSettings:
    - {port: {number: 80}, tls: {mode: SIMPLE}}
`, s.Internet.Port()),
				"authorization.yaml": `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: wikipedia, namespace: istio-system}
spec:
  rules:
  - from: [{source: {namespaces: [default]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny-german, namespace: istio-system}
spec:
  action: DENY
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/sleep-us]}}]
    when: [{key: connection.sni, values: [de.wikipedia.org]}]
`,
			}
		},
		Steps: []Step{
			allowed(us, en, "ns[istio-system]-policy[wikipedia]-rule[0]"),
			{Who: us, Host: de, Reason: "deny-rule", Rule: denied},
			Step{Who: us, Host: de, Reason: "deny-rule", Rule: denied}.via(model.WayHTTP),
			allowed(canada, de, "ns[istio-system]-policy[wikipedia]-rule[0]"),
			allowed(canada, de, "ns[istio-system]-policy[wikipedia]-rule[0]").via(model.WayHTTP),
			refused(us, google, "host-not-registered"),
		},
	}
}
