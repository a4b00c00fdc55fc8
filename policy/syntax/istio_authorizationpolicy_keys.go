package syntax

import "strings"

// The keys of conditions that can be honoured. See
// https://istio.io/latest/docs/reference/config/security/conditions/
const (
	KeySNI            = "connection.sni"
	KeyPrincipal      = "source.principal"
	KeyNamespace      = "source.namespace"
	KeyServiceAccount = "source.serviceAccount"
	KeyTrustDomain    = "source.trustDomain"
)

// refusedKey is a key that Istio knows, and why it cannot be honoured. With
// brackets, any key of the form NAME[…] is meant; with a dot at its end, any that
// starts so.
type refusedKey struct{ key, why string }

func refusedKeys() []refusedKey {
	return []refusedKey{
		{"request.headers[]", noRequests},
		{"request.auth.principal", noTokens},
		{"request.auth.audiences", noTokens},
		{"request.auth.presenter", noTokens},
		{"request.auth.claims[]", noTokens},
		{"source.ip", noAddresses},
		{"remote.ip", "it is about what X-Forwarded-For claims; " + noAddresses},
		{"destination.ip", "it is the gateway's own address; where hosts may lead is in the EgressGateway's `addresses`"},
		{"destination.port", "write it as `to` with an operation's ports"},
		{"experimental.envoy.filters.", "no filter of the gateway says anything there"},
	}
}

func (k refusedKey) matches(key string) bool {
	switch name, isMap := strings.CutSuffix(k.key, "[]"); {
	case isMap:
		return key == name || strings.HasPrefix(key, name+"[")
	case strings.HasSuffix(k.key, "."):
		return strings.HasPrefix(key, k.key)
	default:
		return key == k.key
	}
}

// conditionKey is what a condition is about.
func conditionKey() value[string] {
	var choices []choice[string]
	for _, k := range []string{KeySNI, KeyPrincipal, KeyNamespace, KeyServiceAccount, KeyTrustDomain} {
		choices = append(choices, choice[string]{word: k, v: k})
	}
	known := oneOf("the key of a condition", choices...)
	return value[string]{what: known.what, schema: known.schema, read: func(r *reader, n *node) (string, bool) {
		if n.kind == scalar {
			for _, k := range refusedKeys() {
				if k.matches(n.value) {
					r.errorf(n, "not-honoured", "the key %s cannot be honoured: %s", n.value, k.why)
					return "", false
				}
			}
		}
		return known.read(r, n)
	}}
}
