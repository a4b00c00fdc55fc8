package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
)

// The exit codes, a contract with scripts.
const (
	exitOK      = 0
	exitInvalid = 1 // invalid input, or something failed
	exitUsage   = 2 // wrong usage: unknown command, flag or argument
	exitRefused = 3 // the answer is that the policy refuses, or a gateway does
	exitWidened = 4 // the answer is that a policy allows more than another, or than what is used
)

// exitError is what a command itself failed with. Every other error comes from
// reading the command line, and is wrong usage.
type exitError struct {
	code int
	err  error // nil: everything has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// silently ends the command with an exit code, after it has said everything.
func silently(code int) error { return &exitError{code: code} }

// usage marks an error as one of wrong usage that was only found later.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// doing makes a RunE whose errors are of the command, not of its usage.
func doing(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		var exit *exitError
		if err == nil || errors.As(err, &exit) {
			return err
		}
		return &exitError{code: exitInvalid, err: err}
	}
}

// report says what went wrong, once, and returns the exit code.
func report(cmd *cobra.Command, err error) int {
	var exit *exitError
	var list diag.ListError
	switch {
	case err == nil:
		return exitOK
	case !errors.As(err, &exit):
		exit = &exitError{code: exitUsage, err: err}
	case exit.err == nil || errors.Is(exit.err, context.Canceled):
		return exit.code
	case errors.As(exit.err, &list):
		writeDiagnostics(cmd.ErrOrStderr(), list.List)
		return exit.code
	}
	cmd.PrintErrf("sallyport: %v\n", exit.err)
	if exit.code == exitUsage {
		cmd.PrintErrf("See `%s --help`.\n", cmd.CommandPath())
	}
	return exit.code
}
