// Package flows says who went where, who was refused, and by which line of
// which file. It reads the access logs of the gateways' Envoys, adds what only
// the policy knows, and writes one line a connection, for programs or people.
package flows

import (
	"time"

	"sallyport/policy/model"
)

// Events in the life of a connection.
const (
	// EventOpen is an allowed connection that has reached its host. Its bytes are
	// those until then, and it has no duration.
	EventOpen = "open"
	// EventClose is the end of an allowed connection.
	EventClose = "close"
	// EventRefused is a connection that reached nothing.
	EventRefused = "refused"
)

// Flow is one connection: what the gateway did and why. The order of the
// fields is their order in JSON. The zero Flow is a refusal.
type Flow struct {
	Level string    `json:"level"`
	Time  time.Time `json:"time"`
	// Instance is the group of gateways.
	Instance string `json:"instance"`
	// Gateway is what the gateway calls itself: a label for people.
	Gateway         string `json:"gateway,omitempty"`
	ConnectionEvent string `json:"connectionEvent"`
	// RequestedServerName is what the workload sent, not what the gateway made
	// of it. Envoy writes "invalid:…" before what cannot be a host name.
	RequestedServerName string `json:"requestedServerName"`
	// Via is CONNECT or HTTP for what came as a request to an HTTP listener: the
	// server name is then that of the request's authority. It is empty for TLS,
	// also inside of a tunnel.
	Via string `json:"via,omitempty"`
	// Authority is what the request asked for, HOST or HOST:PORT, as it was sent.
	Authority string `json:"authority,omitempty"`
	// Method and ResponseCode are those of the request; the code is the gateway's
	// own if it did not reach the host.
	Method       string `json:"method,omitempty"`
	ResponseCode int    `json:"responseCode,omitempty"`
	// Source is the workload's address, IP:port; without a port for a connection
	// to a host that several requests of the workload shared.
	Source string `json:"source"`
	// SourcePrincipal is the workload's SPIFFE ID without spiffe://, empty for
	// the anonymous principal.
	SourcePrincipal string        `json:"sourcePrincipal"`
	SourceNamespace string        `json:"sourceNamespace"`
	SourceWorkload  string        `json:"sourceWorkload"`
	Verdict         model.Verdict `json:"verdict"`
	Reason          model.Reason  `json:"reason"`
	// Policy, PolicyNamespace and Rule name the rule that decided, if one did.
	Policy          string `json:"policy,omitempty"`
	PolicyNamespace string `json:"policyNamespace,omitempty"`
	Rule            string `json:"rule,omitempty"`
	// File and Line are where what decided is written: the rule, or the
	// Destination or EgressGateway if the reason is theirs.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Revoked says of an allowed connection that the policy in force now would
	// refuse it: that change closed it, or it ended just before.
	Revoked              bool   `json:"revoked,omitempty"`
	BytesReceived        uint64 `json:"bytesReceived"`
	BytesSent            uint64 `json:"bytesSent"`
	DurationMilliseconds uint64 `json:"durationMilliseconds"`
	UpstreamAddress      string `json:"upstreamAddress,omitempty"`
	// UpstreamFailure is why an allowed connection did not reach its host.
	UpstreamFailure string `json:"upstreamFailure,omitempty"`
	// DownstreamFailure is what went wrong in mutual TLS with the workload.
	DownstreamFailure  string `json:"downstreamFailure,omitempty"`
	TerminationDetails string `json:"terminationDetails,omitempty"`
	// Connection identifies the connection in the logs of its gateway.
	Connection string `json:"connection,omitempty"`
	// Audit are the rules in audit mode that match.
	Audit []AuditFinding `json:"audit,omitempty"`
	// AuditVerdict is what the verdict would be were the audit policies
	// enforced, and AuditReason why; nil and empty if that changes nothing. Of what a
	// group in mode Audit let through it is always what mode Enforce would say.
	AuditVerdict *model.Verdict `json:"auditVerdict,omitempty"`
	AuditReason  model.Reason   `json:"auditReason,omitempty"`
	// AuditBy is the rule that would decide, if one would.
	AuditBy *AuditFinding `json:"auditBy,omitempty"`
}

// AuditFinding is one rule in audit mode that matches a connection.
type AuditFinding struct {
	Rule   string        `json:"rule"`
	Action model.Verdict `json:"action"`
	File   string        `json:"file,omitempty"`
	Line   int           `json:"line,omitempty"`
}

// WouldBeRefused reports whether the connection was let through, and enforcing
// everything would have refused it.
func (f Flow) WouldBeRefused() bool {
	return f.Verdict == model.Allow && f.AuditVerdict != nil && *f.AuditVerdict != model.Allow
}

// Refused reports whether the policy refused the connection.
func (f Flow) Refused() bool { return f.Verdict != model.Allow }
