package flows

import (
	"slices"
	"strings"

	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// Reasons for what a gateway did that the policy alone does not give; the
// others are the model's.
const (
	// PrivateAddress: the name resolved to an address that no workload may
	// reach.
	PrivateAddress model.Reason = translate.PrivateAddress
	// NoAddress: the name did not resolve, or to nothing but addresses that no
	// workload may reach.
	NoAddress model.Reason = translate.NoAddress
	// BadIdentity is model.BadIdentity. Envoy itself says "none": the filter that
	// refuses such a certificate allows what has one.
	BadIdentity = model.BadIdentity
	// TLSHandshake: mutual TLS with the workload failed.
	TLSHandshake model.Reason = "tls-handshake"
	// ClosedEarly: the connection ended before anything was decided.
	ClosedEarly model.Reason = "closed-early"
	// BadRequest: what came to an HTTP listener is not an HTTP request, or one
	// that can be read in two ways.
	BadRequest model.Reason = "bad-request"
	// PolicyChanged: the connection was refused, but not by the policy that is
	// in force now, so nobody can say any more which line it was.
	PolicyChanged model.Reason = "policy-changed"
	// UnknownGateway: there is no such gateway in the policy, so nobody can say
	// why the connection was refused.
	UnknownGateway model.Reason = "unknown-gateway"
)

// Explanation says in a sentence what a reason means, one of the model's too.
func Explanation(r model.Reason) string {
	switch r {
	case PrivateAddress:
		return "the name leads to an address that is refused"
	case NoAddress:
		return "the name has no address, or none that may be reached"
	case TLSHandshake:
		return "mutual TLS with the workload failed"
	case ClosedEarly:
		return "the connection ended before it had named a server, or its hello was larger than 16 KiB"
	case BadRequest:
		return "it is no HTTP request that could be passed on"
	case PolicyChanged:
		return "the policy has changed since"
	case UnknownGateway:
		return "the policy has no EgressGateway of this name"
	default:
		return r.Explanation()
	}
}

// upstreamFailure says why an allowed connection did not reach its host, or "".
// Envoy gives a text if it tried to connect, and only a flag if it did not
// (https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage,
// %RESPONSE_FLAGS%).
func (r EnvoyRecord) upstreamFailure() string {
	if r.UpstreamFailure != "" {
		return r.UpstreamFailure
	}
	flags := strings.Split(r.ResponseFlags, ",")
	for _, f := range []struct{ flag, meaning string }{
		{"UO", "the gateway's connection limit is reached"},
		{"DF", "the name could not be resolved"},
		{"UH", "no address could be connected to"},
		{"NC", "the gateway has no cluster for the host"},
		{"UF", "the connection failed"},
		{"URX", "the connection failed as often as it may be tried"},
	} {
		if slices.Contains(flags, f.flag) {
			return f.meaning
		}
	}
	return ""
}
