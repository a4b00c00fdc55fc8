package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/svid"
	"sallyport/xds/server"
)

// lookAtExpiry is how often the control plane's own certificate is looked at.
const lookAtExpiry = 10 * time.Minute

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

// gatewayHint is how a gateway gets its bootstrap from here.
func (o serveOptions) gatewayHint(own svid.Source, at net.Addr) string {
	hint := "for a gateway: sallyport bootstrap gateway --cluster NAME-OF-THE-EGRESSGATEWAY --control-plane " + at.String()
	if own == nil {
		return hint
	}
	if s, err := own.GetX509SVID(); err == nil {
		hint += " --control-plane-id " + s.ID.String()
	}
	if o.spire != "" {
		return hint + " --spire " + o.spire
	}
	return hint + " --certs DIR --name NAME"
}

// serverTLS is mutual TLS with the identity, or nil without one.
func serverTLS(s svid.Source) *tls.Config {
	if s == nil {
		return nil
	}
	return svid.ServerTLS(s)
}

// expiry is when the certificate ends, for the status; nil without one.
func expiry(s svid.Source) func() time.Time {
	if s == nil {
		return nil
	}
	return func() time.Time {
		_, until, err := svid.Validity(s)
		if err != nil {
			return time.Time{} // the log says it, see watchExpiry
		}
		return until
	}
}

// watchExpiry warns until the context ends, while the certificate is about to
// expire. (Looking at it has files read again, too.)
func watchExpiry(ctx context.Context, s svid.Source, log *logrus.Logger) error {
	tick := time.NewTicker(lookAtExpiry)
	defer tick.Stop()
	for {
		from, until, err := svid.Validity(s)
		switch {
		case err != nil:
			log.WithError(err).Error("the control plane's certificate cannot be read")
		case time.Now().After(until):
			log.Errorf("the control plane's certificate has expired, at %s: no gateway can connect; replace it", until.Format(time.RFC3339))
		case time.Now().After(server.CertificateDue(from, until)):
			log.Warnf("the control plane's certificate expires soon, at %s: without a new one no gateway will be able to connect", until.Format(time.RFC3339))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
