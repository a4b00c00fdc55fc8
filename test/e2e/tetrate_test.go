package e2e

import (
	"path/filepath"
	"testing"

	"sallyport/pkg/lab"
)

const (
	developersGoogle = "developers.google.com"
	developerYahoo   = "developer.yahoo.com"

	// The workloads of Tetrate's article, as NAMESPACE/SERVICEACCOUNT.
	pod1   = "default/sleep"
	pod2   = "otherns/sleep"
	podG   = "otherns/sleep-google"
	podY   = "otherns/sleep-yahoo"
	denied = refused
)

// TestTetrate follows Tetrate's article "How to enforce egress traffic using
// Istio's authorization policies" in its order, from the files in
// examples/tetrate: as its YAML has it, and in our own language.
func TestTetrate(t *testing.T) {
	for _, language := range []string{"istio", "native"} {
		t.Run(language, func(t *testing.T) { tetrate(t, language) })
	}
}

func tetrate(t *testing.T, language string) {
	r := article(t, []lab.Site{{Hosts: []string{developersGoogle}}, {Hosts: []string{developerYahoo}}}, pod1, pod2, podG, podY)
	// Every request of the article is made in three ways. In its first part nothing
	// speaks TLS for those who send plain HTTP, so that these are refused, always.
	tlsOnly := func(who, host string, want outcome) ask { return ask{who: who, host: host, tls: want} }
	both := func(who, host string, want outcome) ask { return ask{who: who, host: host, plain: want, tls: want} }
	step := func(name string, run func(t *testing.T)) { r.step(t, name, run) }
	apply := func(dir string, only ...string) {
		r.example(filepath.Join("../../examples/tetrate", dir, language), only...)
	}
	// key is a policy as the log names it; ours have no namespace.
	key := func(policy string) string {
		if language == "istio" {
			return "ns[istio-system]-policy[" + policy + "]-rule[0]"
		}
		return "policy[" + policy + "]-rule[0]"
	}

	step("ALLOW_ANY", func(t *testing.T) {
		apply("01-allow-any")
		r.meets(t, tlsOnly(pod1, developersGoogle, reached), tlsOnly(pod2, developerYahoo, reached),
			tlsOnly(pod1, developerYahoo, reached), tlsOnly(pod2, developersGoogle, reached))
	})
	blocked := []ask{
		both(pod1, developersGoogle, denied), both(pod2, developersGoogle, denied),
		both(pod1, developerYahoo, denied), both(pod2, developerYahoo, denied),
	}
	step("REGISTRY_ONLY blocks", func(t *testing.T) {
		apply("02-registry-only")
		r.meets(t, blocked...)
	})
	// Each ServiceEntry is for the namespace that it is in.
	const services = "03-serviceentry-per-namespace"
	step("Google is known in default", func(t *testing.T) {
		apply(services, "gateway.yaml", "default/google.yaml")
		r.meets(t, tlsOnly(pod1, developersGoogle, reached), tlsOnly(pod1, developerYahoo, denied),
			tlsOnly(pod2, developersGoogle, denied))
	})
	step("Google is known in otherns too", func(t *testing.T) {
		apply(services, "gateway.yaml", "default/google.yaml", "otherns/google.yaml")
		r.meets(t, tlsOnly(pod2, developersGoogle, reached), tlsOnly(pod1, developersGoogle, reached),
			tlsOnly(pod1, developerYahoo, denied), tlsOnly(pod2, developerYahoo, denied))
	})
	step("Yahoo is known in default", func(t *testing.T) {
		apply(services, "gateway.yaml", "default/google.yaml", "otherns/google.yaml", "default/yahoo.yaml")
		r.meets(t, tlsOnly(pod1, developerYahoo, reached), tlsOnly(pod2, developerYahoo, denied))
	})
	step("Yahoo is known in otherns too", func(t *testing.T) {
		apply(services)
		r.meets(t, tlsOnly(pod2, developerYahoo, reached), tlsOnly(pod1, developerYahoo, reached),
			tlsOnly(pod1, "www.example.com", denied))
	})
	step("the ServiceEntries are deleted", func(t *testing.T) {
		apply("02-registry-only")
		r.meets(t, blocked...)
	})

	// From here on plain HTTP goes through the gateway, which speaks TLS to the
	// host.
	step("through the gateway", func(t *testing.T) {
		apply("04-through-the-gateway")
		r.meets(t, both(pod1, developersGoogle, reached), both(pod2, developerYahoo, reached),
			both(pod2, developersGoogle, reached), both(pod1, developerYahoo, reached))
		r.logged(t, `"method":"HEAD"`, `"authority":"`+developersGoogle, `"responseCode":200`, `"upstreamTLSVersion":"TLSv1.3"`,
			"spiffe://cluster.local/ns/default/sa/sleep")
		r.logged(t, `"method":"HEAD"`, `"authority":"`+developerYahoo, `"responseCode":200`, `"upstreamTLSVersion":"TLSv1.3"`,
			"spiffe://cluster.local/ns/otherns/sa/sleep")
	})
	step("allow-nothing", func(t *testing.T) {
		apply("05-allow-nothing")
		r.meets(t, both(pod1, developerYahoo, denied), both(pod2, developersGoogle, denied),
			both(pod1, developersGoogle, denied), both(pod2, developerYahoo, denied))
	})
	step("an ALLOW beside allow-nothing allows", func(t *testing.T) {
		// The article says that it does not, as DENY comes before ALLOW; but
		// allow-nothing is an ALLOW that matches nothing.
		apply("05-allow-nothing-but-google")
		r.meets(t, both(pod1, developersGoogle, reached), both(pod2, developersGoogle, denied),
			both(pod1, developerYahoo, denied), both(pod2, developerYahoo, denied))
	})
	step("per namespace", func(t *testing.T) {
		apply("06-per-namespace")
		r.meets(t, both(pod1, developerYahoo, denied), both(pod2, developersGoogle, denied),
			both(pod1, developersGoogle, reached), both(pod2, developerYahoo, reached))
		matched := "rbac_access_denied_matched_policy[" + key("external-deny-developer-yahoo-com") + "]"
		if language == "native" {
			matched = key("external-deny-developer-yahoo-com")
		}
		for _, method := range []string{"HEAD", "CONNECT"} {
			r.logged(t, `"method":"`+method+`"`, `"authority":"`+developerYahoo, `"responseCode":403`, matched)
		}
		r.logged(t, `"requestedServerName":"`+developerYahoo+`"`, matched) // TLS
		r.logged(t, `"authority":"`+developersGoogle, `"responseCode":403`, key("external-deny-developers-google-com"))
	})
	perAccount := func(plain bool) []ask {
		asks := []ask{
			both(podG, developersGoogle, reached), both(podG, developerYahoo, denied),
			both(podY, developersGoogle, denied), both(podY, developerYahoo, reached),
			both(pod2, developersGoogle, reached), both(pod2, developerYahoo, reached),
			both(pod1, developersGoogle, reached), both(pod1, developerYahoo, reached),
		}
		for i := range asks {
			if !plain {
				asks[i].plain = denied
			}
		}
		return asks
	}
	step("per service account", func(t *testing.T) {
		apply("07-per-service-account")
		r.meets(t, perAccount(true)...)
	})
	step("per service account, with the workloads' own TLS", func(t *testing.T) {
		apply("08-passthrough")
		r.meets(t, perAccount(false)...)
	})
}
