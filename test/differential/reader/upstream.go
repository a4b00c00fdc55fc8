package reader

import (
	"errors"
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// upstreamTLS is TLS that the gateway speaks itself.
type upstreamTLS struct {
	secret string
	// names are what the certificate must have one of; none means that it must
	// have the requested host.
	names []stringMatch
}

// upstreamTLS reads TLS to hosts, whose certificates must be verified. The
// options are those of the HTTP in it: they say where the server name is from.
func (r *parser) upstreamTLS(s *core.TransportSocket, options map[string]*anypb.Any) (*upstreamTLS, error) {
	m, err := unpack(s.GetTypedConfig(), &tls.UpstreamTlsContext{})
	if err != nil {
		return nil, err
	}
	if err := only(m, "common_tls_context"); err != nil { // so the server name is not given
		return nil, err
	}
	common := m.GetCommonTlsContext()
	if err := only(common, "tls_params", "combined_validation_context"); err != nil {
		return nil, err
	}
	combined := common.GetCombinedValidationContext()
	if err := only(combined, "default_validation_context", "validation_context_sds_secret_config"); err != nil {
		return nil, err
	}
	out := &upstreamTLS{secret: combined.GetValidationContextSdsSecretConfig().GetName()}
	if out.secret == "" {
		return nil, errors.New("nothing that hosts' certificates are verified with")
	}
	if err := only(combined.GetDefaultValidationContext(), "match_typed_subject_alt_names"); err != nil {
		return nil, err
	}
	for _, san := range combined.GetDefaultValidationContext().GetMatchTypedSubjectAltNames() {
		if err := only(san, "san_type", "matcher"); err != nil {
			return nil, err
		}
		if san.GetSanType() != tls.SubjectAltNameMatcher_DNS {
			return nil, fmt.Errorf("a host is known by its %v", san.GetSanType())
		}
		match, err := r.stringMatcher(san.GetMatcher())
		if err != nil {
			return nil, err
		}
		out.names = append(out.names, match)
	}
	return out, sniIsTheHost(options, len(out.names) == 0)
}

// sniIsTheHost checks that the server name is the requested host, and that the
// certificate is checked for it, unless it is checked for others.
func sniIsTheHost(options map[string]*anypb.Any, alsoInCertificate bool) error {
	const name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	if len(options) != 1 {
		return errors.New("TLS for HTTP, of which nothing else is said: the reader does not know what server name it has")
	}
	m, err := unpack(options[name], &httpoptions.HttpProtocolOptions{})
	if err != nil {
		return err
	}
	if err := only(m, "common_http_protocol_options", "upstream_http_protocol_options", "auto_config"); err != nil {
		return err
	}
	up := m.GetUpstreamHttpProtocolOptions()
	if err := only(up, "auto_sni", "auto_san_validation"); err != nil {
		return err
	}
	if !up.GetAutoSni() || up.GetAutoSanValidation() != alsoInCertificate {
		return errors.New("the server name is not the host, or the certificate is not checked for it")
	}
	return nil
}
