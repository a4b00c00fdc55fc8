package model

import (
	"net/netip"
	"time"

	"sallyport/pkg/diag"
)

// Trace is a decision with every step that led to it. It is plain data, for
// JSON; Write is for people.
type Trace struct {
	Gateway string `json:"gateway"`
	// Principal is the SPIFFE ID asked about, empty for the anonymous one.
	Principal string `json:"principal"`
	// Host is the host asked about, as written, and Name its canonical form. If
	// it has none, Problem says why.
	Host    string `json:"host"`
	Name    string `json:"name,omitempty"`
	Problem string `json:"problem,omitempty"`

	Verdict Verdict `json:"verdict"`
	Reason  Reason  `json:"reason"`
	// Rule is the one that decided, if one did; it is also among Rules.
	Rule *TraceRule `json:"rule,omitempty"`

	// Pattern is the entry that decided, the most specific one that covers the
	// name; PassedOver are the others that do, from the most specific.
	Pattern    string   `json:"pattern,omitempty"`
	PassedOver []string `json:"passedOver,omitempty"`

	Registered TraceRegistered `json:"registered"`
	Exported   TraceExported   `json:"exported"`
	// Rules are the enforced rules about the host in the order in which they are
	// tried, Deny before Allow, and then those that except it.
	Rules []TraceRule `json:"rules"`
	// HasAllowPolicy says that defaultAction has no say.
	HasAllowPolicy bool `json:"hasAllowPolicy"`
	// AuditOnly says that the gateway is in mode Audit: Audit has what it would decide in
	// mode Enforce.
	AuditOnly     bool    `json:"auditOnly,omitempty"`
	DefaultAction Verdict `json:"defaultAction"`
	// Dial is where an allowed connection is taken; nil if the host is not
	// registered.
	Dial *TraceDial `json:"dial,omitempty"`

	Audit TraceAudit `json:"audit"`
	// Similar are registered patterns that may have been meant, if the host is
	// not registered.
	Similar []string `json:"similar,omitempty"`
}

// TraceRegistered says what made the host known.
type TraceRegistered struct {
	Registered bool `json:"registered"`
	// By names the Destination, the rule or the setting, and Position its place.
	By       string        `json:"by,omitempty"`
	Position diag.Position `json:"position,omitzero"`
}

// TraceExported says whether the principal's namespace may use the host.
type TraceExported struct {
	Exported bool `json:"exported"`
	// Namespace is the principal's, empty if it has none.
	Namespace string `json:"namespace,omitempty"`
	// To are the namespaces that may; if none is listed, either everyone may, or
	// nobody.
	To []string `json:"to,omitempty"`
}

// TraceRule is one rule that was considered.
type TraceRule struct {
	ID     string  `json:"id"`
	Action Verdict `json:"action"`
	// Host is the rule's pattern that covers the name, and Except the exception
	// that does, if the rule leaves it out.
	Host   string `json:"host,omitempty"`
	Except string `json:"except,omitempty"`
	// From are the principals it speaks for.
	From []string `json:"from"`
	// Matched says that host and principal match, Decided that the verdict is
	// this rule's. Why says it in words.
	Matched  bool          `json:"matched"`
	Decided  bool          `json:"decided"`
	Why      string        `json:"why"`
	Position diag.Position `json:"position"`
	Owner    string        `json:"owner,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Expires  time.Time     `json:"expires,omitzero"`
}

// TraceDial is what the gateway connects to.
type TraceDial struct {
	// Host is resolved, unless there are Addresses.
	Host      string       `json:"host"`
	Port      uint16       `json:"port"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// PrivateAddresses says that private networks may be dialled.
	PrivateAddresses bool `json:"privateAddresses"`
}

// TraceAudit says what the policies in mode Audit find.
type TraceAudit struct {
	// Verdict and Reason are what they would be were those policies enforced, or the
	// gateway, and Rule the rule that would change them.
	Verdict Verdict `json:"verdict"`
	Reason  Reason  `json:"reason"`
	Rule    string  `json:"rule,omitempty"`
	// Rules are the audit rules about the host.
	Rules []TraceRule `json:"rules,omitempty"`
}
