// Command sallyport is the control plane of a fleet of Envoy egress gateways,
// and the tools around its policy: each command is in a file of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	// The first signal ends what is going on, a second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return execute(ctx, newRoot(), os.Args[1:])
}
