package translate

import (
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"sallyport/policy/model"
)

// Envoy says rbac_access_denied_matched_policy[none] of a request that no Allow
// rule matches. Whether that is for want of a rule, or the gateway's
// defaultAction, is written at the virtual host.
const (
	metadataSpace = "sallyport"
	otherwiseKey  = "otherwise"
	otherwise     = "%METADATA(VIRTUAL_HOST:" + metadataSpace + ":" + otherwiseKey + ")%"
)

// requestLog writes a line a request: each that was refused or failed, and each
// that was sent on over TLS of the gateway's own. A tunnel that was opened has its
// line at the policy stage, which decides about the server name inside.
func (b *builder) requestLog(g *model.Gateway) []*accesslog.AccessLog {
	return b.logOnly(b.logs(g, map[string]any{
		"time":                 "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
		"gateway":              g.Name,
		"stage":                "http",
		"connection":           "%FILTER_STATE(" + ConnectionKey + ":PLAIN)%",
		"source":               "%DOWNSTREAM_REMOTE_ADDRESS%",
		"sourcePrincipal":      "%FILTER_STATE(" + PrincipalKey + ":PLAIN)%",
		"method":               "%REQ(:METHOD)%",
		"authority":            "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%",
		"protocol":             "%PROTOCOL%",
		"responseCode":         "%RESPONSE_CODE%",
		"responseCodeDetails":  "%RESPONSE_CODE_DETAILS%",
		"otherwise":            otherwise,
		"responseFlags":        "%RESPONSE_FLAGS%",
		"upstreamTLSVersion":   "%UPSTREAM_TLS_VERSION%",
		"upstreamFailure":      "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"bytesReceived":        "%BYTES_RECEIVED%",
		"bytesSent":            "%BYTES_SENT%",
		"durationMilliseconds": "%DURATION%",
	}, b.httpStream), `response.code != 200 || request.method != "CONNECT"`)
}

// failedHTTPHandshakes logs the connections that never got as far as a request.
// Those that did are reset by their clients now and then, which is nothing to
// report: the requests have their own lines.
func (b *builder) failedHTTPHandshakes(g *model.Gateway) []*accesslog.AccessLog {
	return b.logOnly(b.accessLog(g, "entry"),
		`(connection.transport_failure_reason != "" && !has(connection.uri_san_peer_certificate)) || connection.termination_details != ""`)
}

// localReplies are the gateway's own answers: plain text that says who was
// refused what, and by which policy.
func (b *builder) localReplies() *hcm.LocalReplyConfig {
	const refused = "refused by the egress gateway: %FILTER_STATE(" + PrincipalKey + ":PLAIN)% may not ask for %REQ(:AUTHORITY)%: %RESPONSE_CODE_DETAILS%"
	return &hcm.LocalReplyConfig{
		Mappers: []*hcm.ResponseMapper{
			{Filter: b.selected(`response.code_details == "rbac_access_denied_matched_policy[none]"`), BodyFormatOverride: replyBody(refused + " (" + otherwise + ")\n")},
			{Filter: b.selected(`response.code == 403`), BodyFormatOverride: replyBody(refused + "\n")},
		},
		BodyFormat: replyBody("the egress gateway says %RESPONSE_CODE%: %RESPONSE_CODE_DETAILS%\n"),
	}
}

func replyBody(format string) *core.SubstitutionFormatString {
	return &core.SubstitutionFormatString{
		Format: &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{
			Specifier: &core.DataSource_InlineString{InlineString: format},
		}},
		ContentType: "text/plain; charset=utf-8",
	}
}
