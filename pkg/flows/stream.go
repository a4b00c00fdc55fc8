package flows

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"sallyport/xds/translate"
)

// maxText bounds every text of a record that came over a stream, in bytes: a SPIFFE
// ID's own limit. What a workload sent as its authority may be longer.
const maxText = 2048

// FromTCP reads a record that a gateway of the group sent about a connection, as
// translate has it do. What the gateway says of its group is not looked at.
func FromTCP(group string, e *data.TCPAccessLogEntry) (EnvoyRecord, error) {
	p := e.GetCommonProperties()
	r, err := common(group, p)
	if err != nil {
		return EnvoyRecord{}, err
	}
	tags := p.GetCustomTags()
	r.Source = text(tags[translate.TagSource])
	r.RequestedServerName = text(tags[translate.TagServerName])
	r.Chain = text(tags[translate.TagChain])
	r.TerminationDetails = text(p.GetConnectionTerminationDetails())
	r.BytesReceived, r.BytesSent = e.GetConnectionProperties().GetReceivedBytes(), e.GetConnectionProperties().GetSentBytes()
	switch p.GetAccessLogType() {
	case data.AccessLogType_TcpUpstreamConnected:
		r.Open = true
	case data.AccessLogType_NotSet, data.AccessLogType_TcpConnectionEnd:
	default:
		return EnvoyRecord{}, fmt.Errorf("not a record of a gateway's: it is of type %s", p.GetAccessLogType())
	}
	local := p.GetDownstreamLocalAddress()
	if local.GetEnvoyInternalAddress() == nil {
		if local.GetSocketAddress() == nil {
			return EnvoyRecord{}, fmt.Errorf("not a record of a gateway's: it does not say which listener it is of")
		}
		r.Stage, r.Source = stageEntry, address(p.GetDownstreamRemoteAddress())
		r.DownstreamFailure = text(p.GetDownstreamTransportFailureReason())
		if r.DownstreamFailure == "" && !translate.AsksWho(r.Chain) {
			r.Stage = stageRoute // an entry that takes its place
		}
		return r, nil
	}
	if r.Stage = translate.StageOf(local.GetEnvoyInternalAddress().GetServerListenerName()); r.Stage == "" {
		return EnvoyRecord{}, fmt.Errorf("not a record of a gateway's: there is no stage of listener %q", text(local.GetEnvoyInternalAddress().GetServerListenerName()))
	}
	return r, nil
}

// FromHTTP is FromTCP for a request.
func FromHTTP(group string, e *data.HTTPAccessLogEntry) (EnvoyRecord, error) {
	p := e.GetCommonProperties()
	r, err := common(group, p)
	if err != nil {
		return EnvoyRecord{}, err
	}
	tags := p.GetCustomTags()
	r.Stage, r.Source = stageHTTP, address(p.GetDownstreamRemoteAddress())
	r.Method, r.Authority = text(tags[translate.TagMethod]), text(tags[translate.TagAuthority])
	r.Otherwise = text(tags[translate.TagOtherwise])
	r.Protocol = protocol(e.GetProtocolVersion())
	r.ResponseCode = int(e.GetResponse().GetResponseCode().GetValue())
	r.ResponseCodeDetails = text(e.GetResponse().GetResponseCodeDetails())
	r.BytesReceived, r.BytesSent = e.GetRequest().GetRequestBodyBytes(), e.GetResponse().GetResponseBodyBytes()
	return r, nil
}

// common is what both kinds have.
func common(group string, p *data.AccessLogCommon) (EnvoyRecord, error) {
	if !p.GetStartTime().IsValid() || p.GetStartTime().AsTime().Unix() == 0 {
		return EnvoyRecord{}, fmt.Errorf("not a record of a gateway's: it has no time")
	}
	tags := p.GetCustomTags()
	return EnvoyRecord{
		Time:                 p.GetStartTime().AsTime().Truncate(time.Microsecond),
		Gateway:              group,
		Connection:           text(tags[translate.TagConnection]),
		SourcePrincipal:      text(tags[translate.TagPrincipal]),
		ResponseFlags:        flags(p.GetResponseFlags()),
		UpstreamAddress:      address(p.GetUpstreamRemoteAddress()),
		UpstreamFailure:      text(p.GetUpstreamTransportFailureReason()),
		DurationMilliseconds: uint64(max(0, p.GetDuration().AsDuration().Milliseconds())),
	}, nil
}

// text bounds what came over the wire.
func text(s string) string {
	if len(s) <= maxText {
		return s
	}
	s = s[:maxText]
	for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// address is IP:port, or envoy://LISTENER/ for one inside of Envoy, as it writes
// them in its log.
func address(a *core.Address) string {
	if s := a.GetSocketAddress(); s != nil {
		return net.JoinHostPort(text(s.GetAddress()), strconv.Itoa(int(s.GetPortValue())))
	}
	if i := a.GetEnvoyInternalAddress(); i != nil {
		return "envoy://" + text(i.GetServerListenerName()) + "/" + text(i.GetEndpointId())
	}
	return ""
}

func protocol(v data.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case data.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case data.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case data.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	default:
		return ""
	}
}

// flags are those of Envoy's response flags that say something here, as it writes
// them in its log.
func flags(f *data.ResponseFlags) string {
	if f == nil {
		return ""
	}
	var out []string
	for _, flag := range []struct {
		set  bool
		name string
	}{
		{f.GetUpstreamOverflow(), "UO"},
		{f.GetDnsResolutionFailure(), "DF"},
		{f.GetNoHealthyUpstream(), "UH"},
		{f.GetNoClusterFound(), "NC"},
		{f.GetUpstreamConnectionFailure(), "UF"},
		{f.GetUpstreamRetryLimitExceeded(), "URX"},
		{f.GetUpstreamConnectionTermination(), "UC"},
		{f.GetUpstreamRequestTimeout(), "UT"},
		{f.GetDurationTimeout(), "DT"},
		{f.GetStreamIdleTimeout(), "SI"},
		{f.GetDownstreamConnectionTermination(), "DC"},
		{f.GetDownstreamProtocolError(), "DPE"},
		{f.GetOverloadManager(), "OM"},
	} {
		if flag.set {
			out = append(out, flag.name)
		}
	}
	return strings.Join(out, ",")
}
