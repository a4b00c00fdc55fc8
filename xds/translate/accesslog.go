package translate

import (
	"errors"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	fileaccesslog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/policy/model"
)

// accessLog writes a JSON line a connection to the gateway's log. Package flows
// reads it, and adds what Envoy cannot know: the reason and its file and line.
func (b *builder) accessLog(g *model.Gateway, stage string) []*accesslog.AccessLog {
	return b.logs(g, logFormat(g, stage), b.tcpStream)
}

func logFormat(g *model.Gateway, stage string) map[string]any {
	format := map[string]any{
		"time":    "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
		"gateway": g.Name,
		"stage":   stage,
		// What Envoy's formatter cannot find is null in the line.
		"connection":           "%FILTER_STATE(" + ConnectionKey + ":PLAIN)%",
		"source":               "%FILTER_STATE(" + SourceKey + ":PLAIN)%",
		"sourcePrincipal":      "%FILTER_STATE(" + PrincipalKey + ":PLAIN)%",
		"requestedServerName":  "%REQUESTED_SERVER_NAME%",
		"chain":                "%FILTER_CHAIN_NAME%",
		"terminationDetails":   "%CONNECTION_TERMINATION_DETAILS%",
		"responseFlags":        "%RESPONSE_FLAGS%",
		"upstreamAddress":      "%UPSTREAM_REMOTE_ADDRESS%",
		"upstreamFailure":      "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"bytesReceived":        "%BYTES_RECEIVED%",
		"bytesSent":            "%BYTES_SENT%",
		"durationMilliseconds": "%DURATION%",
	}
	if stage == "entry" {
		// At the entry the connection is the workload's own.
		format["source"] = ownSource
		format["downstreamFailure"] = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%"
	}
	return format
}

// ownSource is the workload's address where the connection is the workload's own.
const ownSource = "%DOWNSTREAM_REMOTE_ADDRESS%"

// directLog is the log of an entry that takes the route stage's place, in the
// words of that.
func (b *builder) directLog(g *model.Gateway) []*accesslog.AccessLog {
	format := logFormat(g, "route")
	format["source"] = ownSource
	return b.endedHere(b.logs(g, format, b.tcpStream))
}

// logs are those that the gateway is to write: to its file, to the control
// plane, or both.
func (b *builder) logs(g *model.Gateway, format map[string]any, stream func() *accesslog.AccessLog) []*accesslog.AccessLog {
	var out []*accesslog.AccessLog
	if g.AccessLog != "" {
		out = append(out, b.jsonLog(g, format))
	}
	if g.LogStream != model.StreamNone {
		out = append(out, stream())
	}
	if len(out) == 0 {
		b.fail(errors.New("nothing would be logged"))
	}
	return out
}

func (b *builder) jsonLog(g *model.Gateway, format map[string]any) *accesslog.AccessLog {
	fields, err := structpb.NewStruct(format)
	if err != nil {
		b.fail(err)
	}
	return &accesslog.AccessLog{
		Name: "file",
		ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(&fileaccesslog.FileAccessLog{
			Path: g.AccessLog,
			AccessLogFormat: &fileaccesslog.FileAccessLog_LogFormat{LogFormat: &core.SubstitutionFormatString{
				Format: &core.SubstitutionFormatString_JsonFormat{JsonFormat: fields},
			}},
		})},
	}
}

// failedHandshakes logs the connections that never got past the entry: no
// certificate, one that nobody trusts, one without a principal. Every other
// connection is logged by the stage that decided about it.
func (b *builder) failedHandshakes(g *model.Gateway) []*accesslog.AccessLog {
	return b.logOnly(b.accessLog(g, "entry"),
		`connection.transport_failure_reason != "" || connection.termination_details != ""`)
}

// endedHere logs the connections that the route stage did not hand on: refused
// ones, and those that never got a filter chain, because their hello was too
// large or never came.
func (b *builder) endedHere(logs []*accesslog.AccessLog) []*accesslog.AccessLog {
	return b.logOnly(logs, `!has(upstream.address)`)
}

// logOnly restricts logs to what an expression selects
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes).
func (b *builder) logOnly(logs []*accesslog.AccessLog, expression string) []*accesslog.AccessLog {
	for _, log := range logs {
		log.Filter = b.selected(expression)
	}
	return logs
}

func (b *builder) selected(expression string) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslog.ExtensionFilter{
			Name:       "cel",
			ConfigType: &accesslog.ExtensionFilter_TypedConfig{TypedConfig: b.pack(&celfilter.ExpressionFilter{Expression: expression})},
		},
	}}
}
