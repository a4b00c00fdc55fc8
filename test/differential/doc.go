// Package differential compares what the policy says with what Envoy does:
// the model's verdicts with an independent reader of the emitted resources, and
// a sample of those with a real Envoy. Its tests also hold what the resources
// promise about edits: which filter chains change, and which must not.
package differential
