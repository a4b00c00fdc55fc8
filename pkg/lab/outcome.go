package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Outcome is what became of an attempt to reach a host. The zero value is
// Failed: nothing is taken for an answer, or for a refusal, that is not one.
type Outcome int

const (
	// Failed is anything that the others are not; the error says what.
	Failed Outcome = iota
	// Answered is a complete answer from the server.
	Answered
	// Refused is a connection that was accepted and then closed or reset
	// before the TLS handshake was through: a gateway's No.
	Refused
	// Untrusted is a server whose certificate is not the host's.
	Untrusted
	// TimedOut is no answer in time.
	TimedOut
	// Broken is a connection that ended after the handshake, before the
	// answer was complete.
	Broken
)

// String is the outcome in a word.
func (o Outcome) String() string {
	switch o {
	case Answered:
		return "answered"
	case Refused:
		return "refused"
	case Untrusted:
		return "untrusted"
	case TimedOut:
		return "timed out"
	case Broken:
		return "broken"
	default:
		return "failed"
	}
}

// OfHandshake is the outcome that the error of a TLS handshake means. No error
// is Answered.
func OfHandshake(err error) Outcome {
	var untrusted *tls.CertificateVerificationError
	var outer *OuterError
	switch {
	case err == nil:
		return Answered
	case errors.As(err, &untrusted):
		return Untrusted
	case late(err):
		return TimedOut
	case cutOff(err), errors.As(err, &outer):
		return Refused
	default:
		return Failed
	}
}

// cutOff reports whether the other side closed or reset the connection.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func late(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &network) && network.Timeout()
}
