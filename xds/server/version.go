package server

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The oldest Envoy that has every field of the configuration: measured with
// `validate --envoy`, which 1.39.0 passes and 1.38.3 does not
// (resolved_address_filter). One that is older might ignore what it does not know,
// and with that a check.
const (
	oldestMajor = 1
	oldestMinor = 39
)

// newEnough refuses an Envoy that is too old for what it would be sent. Other
// clients than Envoy are not its business.
func newEnough(node *core.Node) error {
	if node.GetUserAgentName() != "envoy" {
		return nil
	}
	v := node.GetUserAgentBuildVersion().GetVersion()
	if v.GetMajorNumber() > oldestMajor || v.GetMajorNumber() == oldestMajor && v.GetMinorNumber() >= oldestMinor {
		return nil
	}
	is := envoyVersion(node)
	if is == "" {
		is = "of an unknown version"
	}
	return status.Errorf(codes.FailedPrecondition, "this Envoy is %s, and the configuration needs %d.%d or later: an older one would ignore fields that it does not know",
		is, oldestMajor, oldestMinor)
}
