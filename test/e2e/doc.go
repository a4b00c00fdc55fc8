// Package e2e has the scenarios that sallyport exists for, run on the real
// parts: the sallyport binary, an Envoy as gateway, an Envoy as each workload's
// proxy, TLS clients, TLS servers and a DNS server. The tests are in the order
// of the README's promises.
package e2e
