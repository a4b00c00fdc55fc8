// Package otel sends flows of the real sallyport to a real OpenTelemetry Collector, over
// both protocols, and holds what arrives to what docs/flows.md says, and to what the
// control plane counts when the collector is away. It is a module of its own, so that
// nobody who builds sallyport gets the collector with it.
package otel
