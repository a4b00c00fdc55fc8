package flows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Stages of a connection's path that write log lines, as translate names them.
const (
	stageEntry  = "entry"
	stageRoute  = "route"
	stagePolicy = "policy"
	// stageHTTP writes a line a request, and stageOriginated one for each
	// connection that requests shared, when it ends.
	stageHTTP       = "http"
	stageOriginated = "originated"
)

// EnvoyRecord is one line of a gateway's access log, as translate has Envoy
// write it. What Envoy did not know is the zero value. Server name and
// principal come from the network: do not print them unescaped.
type EnvoyRecord struct {
	Time    time.Time `json:"time"`
	Gateway string    `json:"gateway"`
	// Stage is the stage that wrote the line: entry, route, policy, http or
	// originated.
	Stage string `json:"stage"`
	// Open says that the connection has reached its host, and goes on. It is only
	// ever said over a stream.
	Open bool `json:"-"`
	// Connection is the identifier that the lines of a connection share.
	Connection          string `json:"connection"`
	Source              string `json:"source"`
	SourcePrincipal     string `json:"sourcePrincipal"`
	RequestedServerName string `json:"requestedServerName"`
	// Chain is the filter chain that took the connection: a grant's name, or
	// translate.RefusedChain.
	Chain                string `json:"chain"`
	TerminationDetails   string `json:"terminationDetails"`
	ResponseFlags        string `json:"responseFlags"`
	UpstreamAddress      string `json:"upstreamAddress"`
	UpstreamFailure      string `json:"upstreamFailure"`
	DownstreamFailure    string `json:"downstreamFailure"`
	BytesReceived        uint64 `json:"bytesReceived"`
	BytesSent            uint64 `json:"bytesSent"`
	DurationMilliseconds uint64 `json:"durationMilliseconds"`

	// What follows is of an HTTP request. Method and Authority are empty for what
	// was no request.
	Method    string `json:"method"`
	Authority string `json:"authority"`
	// Protocol is HTTP/1.1 or HTTP/2.
	Protocol string `json:"protocol"`
	// ResponseCode is 0 if the client went away before there was one.
	ResponseCode        int    `json:"responseCode"`
	ResponseCodeDetails string `json:"responseCodeDetails"`
	// Otherwise is why a request was refused that no rule matches.
	Otherwise          string `json:"otherwise"`
	UpstreamTLSVersion string `json:"upstreamTLSVersion"`
}

// Parse reads one line of a gateway's access log. Fields that it does not know
// are ignored: a newer control plane may have told the gateway to write them.
func Parse(line []byte) (EnvoyRecord, error) {
	var r EnvoyRecord
	if err := json.Unmarshal(line, &r); err != nil {
		return EnvoyRecord{}, fmt.Errorf("not a line of a gateway's access log: %w", err)
	}
	switch r.Stage {
	case stageEntry, stageRoute, stagePolicy, stageHTTP, stageOriginated:
	case "":
		return EnvoyRecord{}, errors.New("not a line of a gateway's access log: it has no stage")
	default:
		return EnvoyRecord{}, fmt.Errorf("not a line of a gateway's access log: there is no stage %q", r.Stage)
	}
	if r.Time.IsZero() {
		return EnvoyRecord{}, errors.New("not a line of a gateway's access log: it has no time")
	}
	if r.ResponseFlags == "-" { // Envoy's word for none
		r.ResponseFlags = ""
	}
	return r, nil
}

// PassedOn reports whether the line is only the end of a connection that the
// entry handed on, and that another line tells about: a client that resets its
// mutual TLS instead of closing it leaves two lines. It is also true of a
// connection to a host that served requests, which have lines of their own.
func (r EnvoyRecord) PassedOn() bool {
	if r.Stage == stageOriginated {
		return r.deniedBy() == "" && r.UpstreamAddress != ""
	}
	return r.Stage == stageEntry && r.UpstreamAddress != "" && r.deniedBy() == ""
}

// deniedBy is the name of the RBAC policy that refused the connection, "none" if
// it was refused for want of a policy, or "" if RBAC did not refuse it.
func (r EnvoyRecord) deniedBy() string { return deniedBy(r.TerminationDetails) }

func deniedBy(details string) string {
	rest, ok := strings.CutPrefix(details, "rbac_access_denied_matched_policy[")
	name, ok2 := strings.CutSuffix(rest, "]")
	if !ok || !ok2 {
		return ""
	}
	return name
}
