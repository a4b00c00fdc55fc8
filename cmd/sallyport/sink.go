package main

import (
	"context"
	"sync"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// flowSink attributes the lines of gateways' logs, as they come, with the
// policy in force at that moment.
type flowSink struct {
	log   *logrus.Logger
	model func() *model.Model

	mu      sync.Mutex
	printer flowPrinter
}

// follow reads what is appended to a log from now on. A log that cannot be
// followed must not end the control plane: that is said, and no more.
func (s *flowSink) follow(ctx context.Context, path string) error {
	log := s.log.WithField("file", path)
	err := flows.Tail{Path: path, FromEnd: true}.Follow(ctx, func(line []byte) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		bad := s.printer.bad
		if err := s.printer.line(line, s.model()); err != nil {
			return err
		}
		if s.printer.bad > bad {
			log.WithField("leftOut", s.printer.bad).Debugf("a line is left out: %v", s.printer.lastBad)
		}
		return nil
	})
	if ctx.Err() == nil {
		log.WithError(err).Error("the gateway's log is not followed any more")
		<-ctx.Done()
	}
	return nil
}
