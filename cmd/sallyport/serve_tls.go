package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/svid"
)

// warnBefore is how long before a certificate expires that is said, and
// lookAtExpiry how often.
const (
	warnBefore   = 24 * time.Hour
	lookAtExpiry = time.Hour
)

// identity is the control plane's own, or nil if none is named. Stop ends what
// it needs.
func (o serveOptions) identity(ctx context.Context, log *logrus.Logger) (s svid.Source, stop func() error, err error) {
	stop = func() error { return nil }
	paths := o.certificates.paths()
	switch {
	case o.spire != "":
		if s, stop, err = svid.FromSPIRE(ctx, o.spire); err != nil {
			return nil, nil, err
		}
	case paths != (svid.Paths{}):
		if s, err = svid.NewFiles(paths, func(err error) { log.Error(err) }); err != nil {
			return nil, nil, fmt.Errorf("the control plane's certificate: %w", err)
		}
	default:
		return nil, stop, nil
	}
	own, err := s.GetX509SVID()
	if err != nil {
		return nil, nil, err
	}
	log.Infof("the control plane is %s", own.ID)
	return s, stop, nil
}

// serverTLS is mutual TLS with the identity, or nil without one.
func serverTLS(s svid.Source) *tls.Config {
	if s == nil {
		return nil
	}
	return svid.ServerTLS(s)
}

// watchExpiry warns until the context ends, while the certificate is about to
// expire. (Looking at it has files read again, too.)
func watchExpiry(ctx context.Context, s svid.Source, log *logrus.Logger) error {
	tick := time.NewTicker(lookAtExpiry)
	defer tick.Stop()
	for {
		until, err := svid.Expires(s)
		switch {
		case err != nil:
			log.WithError(err).Error("the control plane's certificate cannot be read")
		case time.Now().After(until):
			log.Errorf("the control plane's certificate has expired, at %s: no gateway can connect; replace it", until.Format(time.RFC3339))
		case time.Until(until) < warnBefore:
			log.Warnf("the control plane's certificate expires soon, at %s: without a new one no gateway will be able to connect", until.Format(time.RFC3339))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
