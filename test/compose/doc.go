// Package compose runs the demo stack, the very docker-compose.yaml that users run,
// in a Docker engine of its own, and tries it: `make compose-test`.
//
// There may be no registry within reach, so the images that envoy/Dockerfile starts
// from are made here, under their names: debian from packages, golang of this
// machine's toolchain and modules, envoyproxy/envoy of the binary of `make envoy`.
// The engine lives in a network namespace, with all its files in a temporary
// directory; it needs root, and leaves nothing behind.
package compose
