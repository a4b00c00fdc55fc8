// Package model is what was decided: the compiled policy of each group of
// gateways. It is plain data. Decide and Explain walk it, the xDS translation
// prints it, and the logs are attributed with it, so that all of them agree.
package model

import (
	"fmt"
	"net/netip"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
)

// Verdict is the answer to "may this principal reach this host". The zero
// value is Deny.
type Verdict int

const (
	// Deny refuses the connection.
	Deny Verdict = iota
	// Allow lets it through.
	Allow
)

// String is the word used in policy files and in logs.
func (v Verdict) String() string {
	if v == Allow {
		return "Allow"
	}
	return "Deny"
}

// MarshalText makes the verdict a word in JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads that word. Anything else is an error, and Deny.
func (v *Verdict) UnmarshalText(text []byte) error {
	switch *v = Deny; string(text) {
	case Allow.String():
		*v = Allow
	case Deny.String():
	default:
		return fmt.Errorf("a verdict is Allow or Deny, not %q", text)
	}
	return nil
}

// Model is the compiled policy directory.
type Model struct {
	// Gateways has one element per EgressGateway document, sorted by name.
	Gateways []*Gateway
	// Expiries are the moments, ascending, at which a policy in this model
	// expires: the model must be compiled anew then.
	Expiries []time.Time
}

// Gateway is the policy of one group of identical Envoys.
type Gateway struct {
	// Name is Envoy's --service-cluster, the key of the group.
	Name        string
	Origin      diag.Position
	TrustDomain string
	Listeners   []Listener
	// AuditOnly is mode Audit: what the rest of the gateway says is evaluated and logged,
	// and nothing is refused by it. See audit_only.go.
	AuditOnly bool
	// AllowAny forwards hosts that nothing registers, subject to the rules
	// on "*". Otherwise they are refused (RegistryOnly).
	AllowAny bool
	// DefaultAction applies where no Allow policy applies at all.
	DefaultAction Verdict
	// HasAllowPolicy says that some Allow policy applies to this gateway, so
	// that DefaultAction does not. An expired one still counts: a grant that
	// runs out must not open everything.
	HasAllowPolicy bool
	DNS            DNS
	Addresses      Addresses
	Limits         Limits
	Certificates   Certificates
	// AccessLog is the path Envoy writes its JSON lines to; empty for no file.
	AccessLog string
	// LogStream is what gateways send to the control plane of the same.
	LogStream LogStream
	// Nodes are the SPIFFE IDs that may fetch this group's configuration.
	Nodes []string
	// Rollout is how an edit reaches them.
	Rollout Rollout

	// Entries holds one element per distinct host pattern, most specific
	// first (see hostname.Compare). Use Lookup to find the one that decides.
	Entries []*Entry

	// Audit are the rules of policies in mode Audit, sorted by ID: evaluated
	// and logged, never enforced. They are kept apart from the entries, so
	// that no audit policy can change what is enforced.
	Audit []*Rule
	// HasAuditAllowPolicy is what HasAllowPolicy would gain were the audit
	// policies enforced.
	HasAuditAllowPolicy bool

	// Made by Index.
	entries *hostindex.Index[*Entry]
	audit   *RuleIndex
	rules   layered.Map[RuleID, *Rule]
}

// LogStream is what a gateway sends to the control plane about connections.
type LogStream int

const (
	// StreamNone sends nothing.
	StreamNone LogStream = iota
	// StreamEnds sends a record when a connection ends, or is refused.
	StreamEnds
	// StreamAll sends one when it is open, too.
	StreamAll
)

// String is the word of the policy language.
func (s LogStream) String() string {
	switch s {
	case StreamEnds:
		return "Ends"
	case StreamAll:
		return "All"
	default:
		return "None"
	}
}

// Protocol is what an entry listener speaks.
type Protocol int

const (
	// MutualTLS carries the app's TLS inside the workload proxy's mutual TLS;
	// the principal is the URI SAN of the client certificate.
	MutualTLS Protocol = iota + 1
	// TLS takes the app's TLS as it is; the principal comes from the source
	// address.
	TLS
	// HTTP is a forward proxy inside mutual TLS: CONNECT, whose tunnel is judged
	// by the server name inside once more, and plain requests, which the gateway
	// sends on over TLS of its own (Dial.Originate). The principal is the URI SAN
	// of the client certificate.
	HTTP
)

// Listener is an entry of the gateway.
type Listener struct {
	Name     string
	Address  netip.Addr
	Port     uint16
	Protocol Protocol
	// Sources maps source addresses to principals, for TLS only. The most
	// specific prefix decides; no match is the anonymous principal.
	Sources []Source
	// ResumeSessions lets workloads resume TLS sessions, for MutualTLS and HTTP. A
	// certificate is not looked at again then: one that has expired since goes on
	// letting its workload in, for days.
	ResumeSessions bool
}

// Source gives the connections from a range of addresses a principal.
type Source struct {
	Prefix    netip.Prefix
	Principal string
}

// Family is which addresses a gateway asks DNS for.
type Family int

// The families, as Envoy's cluster.DnsLookupFamily names them. FamilyAuto asks
// for IPv6 first and takes IPv4 when there is none.
const (
	FamilyAuto Family = iota
	FamilyV4Only
	FamilyV6Only
	FamilyV4Preferred
	FamilyAll
)

// DNS is how the gateway resolves the names it dials.
type DNS struct {
	// Resolvers are asked instead of the system's; empty means the system's.
	Resolvers []netip.AddrPort
	Family    Family
}

// Addresses are the ranges that a resolved name must not, or may, lead to, in
// addition to the built-in refused ranges. Refuse always wins over Allow.
type Addresses struct {
	Refuse []netip.Prefix
	Allow  []netip.Prefix
}

// Limits bound what a gateway holds. Zero durations mean none.
type Limits struct {
	// Connections is how many connections may be open at once.
	Connections uint32
	// Hosts is how many names the DNS cache may hold.
	Hosts          uint32
	ConnectTimeout time.Duration
	IdleTimeout    time.Duration
	MaxDuration    time.Duration
}

// Certificates are where the gateway has its certificate from, and the authorities
// of others: paths on its own file system, or SPIRE's agent beside it. The private
// key never passes through the control plane.
type Certificates struct {
	// Certificate, Key and CA are empty with SPIRE.
	Certificate string
	Key         string
	CA          string
	// SPIRE is the path of the socket of SPIRE's agent on the gateway's machine, if
	// the certificate, its key and the authorities of workloads come from there, over
	// Envoy's SDS.
	SPIRE string
	// SPIREIdentity is the SPIFFE ID of the certificate to ask the agent for; empty
	// means the one that it gives by default.
	SPIREIdentity string
	// Roots are the authorities that hosts' certificates must come from where
	// the gateway originates TLS.
	Roots string
}

// Entry is one host pattern with the rules whose patterns cover it.
type Entry struct {
	Pattern hostname.Pattern
	// Registered says that a Destination, an Allow rule or AllowAny knows
	// this host. Entries that are not registered refuse everyone.
	Registered bool
	// RegisteredAt is where that was written; nowhere for AllowAny.
	RegisteredAt diag.Position
	// RegisteredBy names, for a person, what is written there.
	RegisteredBy string
	// ExportTo are the namespaces that may use it, sorted; nil means every
	// one, and an empty list none.
	ExportTo []string
	Dial     Dial
	// Rules are the enforced rules that cover the pattern, sorted by ID.
	Rules []*Rule
	// Overlapping are the enforced Deny rules that cover only a part of the
	// pattern. They never decide here (a more specific entry does), but a
	// grant's connections must close when one of them appears.
	Overlapping []*Rule
}

// Dial is where the gateway connects to for an entry.
type Dial struct {
	Port uint16
	// Host is resolved instead of the requested server name, if not empty.
	Host string
	// Addresses are dialled without asking DNS, if not empty.
	Addresses []netip.Addr
	// AllowPrivate lifts the private networks from the refused addresses, and
	// nothing else: see guard.Classify.
	AllowPrivate bool
	// Originate says how the gateway speaks TLS to the host when a workload sends
	// plain HTTP; nil means that it does not, and refuses such requests. A
	// workload's own TLS always goes through as it is.
	Originate *Originate
}

// Originate is the gateway's side of TLS to a host. The server name is always
// the requested host.
type Originate struct {
	// Roots is a PEM file on the gateway with the authorities that the host's
	// certificate must come from; empty means Gateway.Certificates.Roots.
	Roots string
	// SubjectAltNames are the DNS names of which the certificate must have one,
	// sorted; none means the requested host itself.
	SubjectAltNames []string
}

// Rule is one rule of one policy, resolved for one gateway's trust domain.
type Rule struct {
	ID     RuleID
	Action Verdict
	// From are the principals the rule speaks for, sorted and without
	// redundant elements; never empty.
	From []PrincipalMatch
	// Who narrows From to what exact names and prefixes cannot say (everyone
	// but some, suffixes); nil if they say it all. If it is set, From is
	// MatchAny.
	Who Who
	To  []To
	// Via says which ways of asking the rule speaks about; zero means all.
	Via Via
	// Origin is the rule's place in its file.
	Origin diag.Position
	// Owner, Reason and Expires are those of the policy; any may be zero.
	Owner   string
	Reason  string
	Expires time.Time
	// Registers says of an Allow rule that it makes its hosts known. The native
	// kinds' do; Istio's need a ServiceEntry beside them.
	Registers bool
	// Audit says that the rule is only evaluated and logged.
	Audit bool
	// NoteOnly says of an Audit rule that it would change nothing if it were
	// enforced: connections that match are noted (Istio's action AUDIT).
	NoteOnly bool
}

// To is one set of hosts of a rule.
type To struct {
	Hosts  []hostname.Pattern
	Except []hostname.Pattern
}
