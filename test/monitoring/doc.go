// Package monitoring holds examples/monitoring to Prometheus's own promtool, and to
// what a control plane really serves: the alerts fire when they should, and every metric
// that they or the dashboard ask for is there. It needs promtool: `make monitoring-test`.
package monitoring
