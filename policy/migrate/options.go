package migrate

import (
	"time"

	"sallyport/policy/layout"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Options say what the documents leave open.
type Options struct {
	// Namespace is that of documents that say none, as with kubectl's -n.
	Namespace string
	// Gateway describes the gateway, unless one of the files does.
	Gateway Gateway
	// Now is the moment at which both policies are compared.
	Now time.Time
}

// Gateway is an EgressGateway to be written.
type Gateway struct {
	Name        string
	TrustDomain string
	// AllowAny and DefaultAction are Istio's outboundTrafficPolicy, and what
	// happens where no ALLOW policy applies.
	AllowAny      bool
	DefaultAction model.Verdict
}

// CheckNamespace says what is wrong with the namespace, if anything is.
func (o Options) CheckNamespace() string {
	if o.Namespace == "" {
		return ""
	}
	return wrong(layout.Header("Destination", o.Namespace, "d") + "  hosts: [example.com]\n")
}

// CheckName says what is wrong with the gateway's name, if anything is.
func (g Gateway) CheckName() string {
	return wrong(Gateway{Name: g.Name, TrustDomain: "cluster.local"}.yaml(model.Deny))
}

// CheckTrustDomain says what is wrong with the trust domain, if anything is.
func (g Gateway) CheckTrustDomain() string {
	return wrong(Gateway{Name: "egress", TrustDomain: g.TrustDomain}.yaml(model.Deny))
}

// wrong is the first thing that the policy language does not take of a document.
func wrong(document string) string {
	var d syntax.Decoder
	if _, diags := d.Decode([]source.File{file("options.yaml", document)}); diags.HasErrors() {
		return diags[0].Message
	}
	return ""
}
