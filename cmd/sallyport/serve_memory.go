package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage there may be before it is collected, in percent of
// what is in use. Most of that are resources ready to be sent, which the collector
// need not look into, so half of Go's 100 costs little, and saves a third of the memory
// of a large fleet's control plane.
const gcPercent = 50

// saveMemory sets it, unless the user has.
func saveMemory() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
}
