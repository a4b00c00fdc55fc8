// Package e2e has the scenarios that sallyport exists for, run on the real
// parts: the sallyport binary, an Envoy as gateway, an Envoy as each workload's
// proxy, TLS clients, TLS servers and a DNS server. The tests are in the order
// of the README's promises.
//
// Without -run, each test has a process and a network namespace of its own, and
// several run at once: nothing of one may be needed by another.
package e2e
