// Package bench measures what sallyport costs: how long an edit takes until the
// gateway refuses, what a connection costs beside other proxies and by each of
// the ways in, what an edit costs the control plane, and what the ADS server does
// beside go-control-plane's own. docs/performance.md has the results; `make bench`
// runs it.
//
// Each benchmark is one measurement of its own length, to be run with
// -benchtime=1x: it reports metrics and logs a table. Nothing is asserted about
// time. Everything is on loopback, bounded in count, and ends what it starts.
package bench
