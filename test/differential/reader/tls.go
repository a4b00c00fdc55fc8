package reader

import (
	"errors"
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// downstreamTLS is mutual TLS with the workload's proxy.
type downstreamTLS struct {
	// uriSANs are matched against the client certificate: one SAN that matches
	// one of them is enough. None means that any certificate of the authority
	// will do.
	uriSANs []stringMatch
	secrets []string
}

// accepts reports whether the handshake with a certificate that the trusted
// authority signed succeeds.
func (t *downstreamTLS) accepts(sans []string) bool {
	if len(t.uriSANs) == 0 {
		return true
	}
	for _, match := range t.uriSANs {
		for _, san := range sans {
			if match(san) {
				return true
			}
		}
	}
	return false
}

func (r *parser) downstreamTLS(s *core.TransportSocket) (*downstreamTLS, error) {
	if err := only(s, "name", "typed_config"); err != nil {
		return nil, err
	}
	m, err := unpack(s.GetTypedConfig(), &tls.DownstreamTlsContext{})
	if err != nil {
		return nil, err
	}
	// Sessions change nothing about who somebody is, only whether that is looked at again.
	if err := only(m, "common_tls_context", "require_client_certificate", "disable_stateless_session_resumption", "disable_stateful_session_resumption"); err != nil {
		return nil, err
	}
	if !m.GetRequireClientCertificate().GetValue() {
		return nil, errors.New("clients without a certificate are let in: the reader does not know whom they would be")
	}
	common := m.GetCommonTlsContext()
	if err := only(common, "tls_certificate_sds_secret_configs", "combined_validation_context"); err != nil {
		return nil, err
	}
	out := &downstreamTLS{}
	for _, c := range common.GetTlsCertificateSdsSecretConfigs() {
		if err := out.secret(c); err != nil {
			return nil, err
		}
	}
	combined := common.GetCombinedValidationContext()
	if combined == nil || len(out.secrets) == 0 {
		return nil, errors.New("no certificate, or nothing that client certificates are verified with")
	}
	if err := only(combined, "default_validation_context", "validation_context_sds_secret_config"); err != nil {
		return nil, err
	}
	if err := out.secret(combined.GetValidationContextSdsSecretConfig()); err != nil {
		return nil, err
	}
	if err := only(combined.GetDefaultValidationContext(), "match_typed_subject_alt_names"); err != nil {
		return nil, err
	}
	for _, san := range combined.GetDefaultValidationContext().GetMatchTypedSubjectAltNames() {
		if err := only(san, "san_type", "matcher"); err != nil {
			return nil, err
		}
		if san.GetSanType() != tls.SubjectAltNameMatcher_URI {
			return nil, fmt.Errorf("a matcher of %v names: the reader does not know it", san.GetSanType())
		}
		match, err := r.stringMatcher(san.GetMatcher())
		if err != nil {
			return nil, err
		}
		out.uriSANs = append(out.uriSANs, match)
	}
	return out, nil
}

// secret reads a reference to a secret that comes over ADS.
func (t *downstreamTLS) secret(c *tls.SdsSecretConfig) error {
	if err := only(c, "name", "sds_config"); err != nil {
		return err
	}
	if err := only(c.GetSdsConfig(), "resource_api_version", "ads"); err != nil {
		return err
	}
	if c.GetSdsConfig().GetAds() == nil || c.GetName() == "" {
		return errors.New("a secret that does not come over ADS, or has no name")
	}
	t.secrets = append(t.secrets, c.GetName())
	return nil
}

// secret reads a certificate, or a trusted authority, in files.
func secret(m *tls.Secret) error {
	if err := only(m, "name", "tls_certificate", "validation_context"); err != nil {
		return err
	}
	switch t := m.GetType().(type) {
	case *tls.Secret_TlsCertificate:
		return only(t.TlsCertificate, "certificate_chain", "private_key", "watched_directory")
	case *tls.Secret_ValidationContext:
		if t.ValidationContext.GetTrustedCa() == nil {
			return errors.New("a validation context without trusted_ca trusts everyone")
		}
		return only(t.ValidationContext, "trusted_ca", "watched_directory")
	default:
		return errors.New("a secret of an unknown kind")
	}
}
