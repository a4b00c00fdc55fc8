// Package envoy has what sallyport needs to know about the Envoy binary itself:
// the bootstraps it starts from, as a gateway and as a workload's proxy, where
// to find it, and how to run it as a child process. What a gateway is told
// afterwards, over xDS, is not here but in package translate.
package envoy

// BuiltFor is the Envoy version that sallyport is built and tested with.
const BuiltFor = "1.40.0"
