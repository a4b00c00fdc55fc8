// Package syntax decodes policy files into documents, strictly: what it does
// not know is an error at its file, line and column, and all errors of all
// files are found in one run. The documents hold what was written, with
// positions; package compile gives them their meaning.
package syntax

import (
	"net/netip"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// APIVersion is the version of every kind here.
const APIVersion = "sallyport.dev/v1"

// Documents are the decoded documents of a directory, in the order of their
// positions.
type Documents struct {
	Policies     []*EgressPolicy
	Destinations []*Destination
	Gateways     []*EgressGateway
	Tests        []*PolicyTest
	Delegations  []*Delegation
	Istio        Istio
}

// Istio are the documents of Istio's kinds. Package istio gives them their
// meaning.
type Istio struct {
	AuthorizationPolicies []*AuthorizationPolicy
	ServiceEntries        []*ServiceEntry
	Gateways              []*IstioGateway
	VirtualServices       []*VirtualService
	DestinationRules      []*DestinationRule
}

// Meta is what every document has.
type Meta struct {
	Name string
	// Namespace is empty for a document that is not namespaced.
	Namespace string
	// Pos is where the document's kind is written.
	Pos diag.Position
	// NamePos is where metadata.name is written.
	NamePos diag.Position
}

// Mode says whether a policy is enforced. The zero value is Enforce.
type Mode int

const (
	// Enforce applies the policy.
	Enforce Mode = iota
	// Audit evaluates and logs it.
	Audit
)

// EgressPolicy says which workloads may, or must not, reach which hosts.
type EgressPolicy struct {
	Meta
	Owner      string
	Reason     string
	Expires    time.Time // zero: never
	ExpiresPos diag.Position
	Mode       Mode
	Rules      []Rule
	Tests      []Test
}

// Rule is one element of spec.rules.
type Rule struct {
	Action model.Verdict
	// From is empty when the field is absent, which means everyone the policy
	// speaks for. An empty list in the file is an error.
	From []Peer
	To   []To
	Pos  diag.Position
}

// Peer selects workloads: exactly one of Principal, ServiceAccount (with the
// policy's namespace or Namespace), or Namespace alone.
type Peer struct {
	// Principal is a SPIFFE ID; a trailing * makes it a prefix.
	Principal      string
	Namespace      string
	ServiceAccount string
	Pos            diag.Position
	// NamespacePos is where Namespace is written.
	NamespacePos diag.Position
}

// To is a set of hosts.
type To struct {
	Hosts  []Host
	Except []Host
	Pos    diag.Position
}

// Host is a host pattern and where it is written.
type Host struct {
	Pattern hostname.Pattern
	Pos     diag.Position
}

// Destination says how hosts are reached, and registers them.
type Destination struct {
	Meta
	Hosts []Host
	Port  uint16 // 443 if absent
	// ResolveHost is resolve.host: one server that serves every host.
	ResolveHost hostname.Name
	// ResolveAddresses is resolve.addresses.
	ResolveAddresses []Address
	// ExportTo has namespaces, "." for the Destination's own, or "*"; absent
	// is ["*"].
	ExportTo     []string
	ExportToPos  diag.Position
	AllowPrivate bool // privateAddresses: Allow
	// Originate is set if the gateway speaks TLS for workloads that send plain
	// HTTP (tls: Originate).
	Originate *model.Originate
}

// Address is an IP address and where it is written.
type Address struct {
	Addr netip.Addr
	Pos  diag.Position
}

// EgressGateway describes a group of identical Envoys.
type EgressGateway struct {
	Meta
	TrustDomain   string
	Listeners     []Listener
	Mode          Mode
	AllowAny      bool // outbound: AllowAny
	DefaultAction model.Verdict
	DNS           model.DNS
	Addresses     model.Addresses
	Limits        model.Limits
	Certificates  model.Certificates
	AccessLog     string
	LogStream     model.LogStream
	Nodes         []string
	Rollout       model.Rollout // zero: all at once
	Istio         IstioGatewayPlace
}

// IstioGatewayPlace is where the gateway would be in an Istio mesh: it says
// which of Istio's documents are about it.
type IstioGatewayPlace struct {
	// RootNamespace is the mesh's; policies there apply to every gateway.
	RootNamespace string // istio-system if absent
	// Namespace is the gateway's own.
	Namespace string // istio-system if absent
	// Labels are the gateway's, which selectors look for.
	Labels map[string]string // istio: egressgateway and app: istio-egressgateway if absent
	// Service is the gateway's host name in the mesh, to which routes lead.
	Service string // istio-egressgateway.NAMESPACE.svc.cluster.local if absent
}

// Listener is an element of spec.listeners.
type Listener struct {
	model.Listener
	Pos diag.Position
}
