// Package faults has what must hold when things go wrong around the control
// plane: the real sallyport binary, a real directory, and gateways that speak ADS
// over mutual TLS (package fleet). Where a gateway enforces, the tests are in
// test/e2e, on a real Envoy; what takes more than a minute is in test/soak.
// docs/faults.md lists all of it.
package faults
