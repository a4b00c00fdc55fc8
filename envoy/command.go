package envoy

// GatewayFlags are the flags a gateway needs beside its bootstrap.
//
// Draining: connections of a revoked grant are closed within a second; Envoy's
// own default would leave them open for ten minutes. Unknown fields: an Envoy
// too old for a field of the policy must refuse it, not ignore it. Log level:
// Envoy warns, once in every filter chain, that the address ranges of its DNS
// cache are work in progress; docs/security.md says why they are used. Flush
// interval: the access log is to be read while it happens, not ten seconds later.
func GatewayFlags() []string {
	return []string{"--drain-time-s", "1", "--drain-strategy", "immediate", "--reject-unknown-dynamic-fields",
		"--component-log-level", "misc:error", "--file-flush-interval-msec", "250"}
}

// GatewayCommand is the command line that starts a gateway from its bootstrap
// file.
func GatewayCommand(binary, config string) []string {
	return append([]string{binary, "--config-path", config}, GatewayFlags()...)
}

// WorkloadCommand is the command line that starts a workload's proxy from its
// bootstrap file. Many can run on one machine, so they do without the shared
// memory of hot restarts.
func WorkloadCommand(binary, config string) []string {
	return []string{binary, "--config-path", config, "--disable-hot-restart"}
}
