package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/policy/model"
	"sallyport/xds/standalone"
	"sallyport/xds/translate"
)

// envoyCheck is what a real Envoy says about the resources of one gateway.
type envoyCheck struct {
	Gateway string `json:"gateway"`
	// Envoy is the version that was asked.
	Envoy string `json:"envoy"`
	Valid bool   `json:"valid"`
	// Message is Envoy's own, if it does not take them.
	Message string `json:"message,omitempty"`
}

// checkWithEnvoy has a real Envoy validate the resources of every gateway, as
// they would be sent to it. The files that the policy names are on the gateways:
// in place of the certificates are ones that are made for this, and thrown away,
// and in place of the log none.
func checkWithEnvoy(ctx context.Context, m *model.Model) (checks []envoyCheck, err error) {
	binary, err := envoy.Find(ctx)
	if err != nil {
		return nil, err
	}
	version, err := envoy.Version(ctx, binary)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "sallyport-validate-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, g := range m.Gateways {
		certificates, err := throwaway(filepath.Join(dir, g.Name), g.TrustDomain)
		if err != nil {
			return nil, err
		}
		here := *g
		here.AccessLog = os.DevNull
		res, err := translate.New().Translate(&here)
		if err != nil {
			return nil, fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		bootstrap, err := standalone.Bootstrap(res, certificates)
		if err != nil {
			return nil, fmt.Errorf("gateway %s: %w", g.Name, err)
		}
		check := envoyCheck{Gateway: g.Name, Envoy: version, Valid: true}
		var invalid envoy.InvalidError
		if err := envoy.Validate(ctx, binary, bootstrap); errors.As(err, &invalid) {
			check.Valid, check.Message = false, invalid.Message
		} else if err != nil {
			return nil, err
		}
		checks = append(checks, check)
	}
	return checks, nil
}

// throwaway are certificates that nobody trusts.
func throwaway(dir, trustDomain string) (standalone.Certificates, error) {
	authority, err := ca.Create(dir, ca.Options{})
	if err != nil {
		return standalone.Certificates{}, err
	}
	if _, err := authority.IssueFile("gateway", ca.Gateway("spiffe://"+trustDomain+"/gateway")); err != nil {
		return standalone.Certificates{}, err
	}
	return standalone.Certificates{
		Certificate: ca.CertificatePath(authority.Dir(), "gateway"), Key: ca.KeyPath(authority.Dir(), "gateway"), CA: authority.CertificatePath(),
	}, nil
}

// line is the check for a person.
func (e envoyCheck) line(c palette) string {
	if e.Valid {
		return fmt.Sprintf("Envoy %s takes the configuration of gateway %s: %s", e.Envoy, e.Gateway, c.green("ok"))
	}
	return fmt.Sprintf("%s: Envoy %s does not take the configuration of gateway %s: %s",
		c.red("error"), e.Envoy, e.Gateway, strings.TrimSpace(e.Message))
}
