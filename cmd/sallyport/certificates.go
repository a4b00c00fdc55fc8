package main

import (
	"github.com/spf13/cobra"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/svid"
)

// certificateFlags name a certificate, its key and authorities, by file, or by
// the directory of `sallyport ca`.
type certificateFlags struct {
	certs, name                   string
	certificate, key, authorities string
}

// add adds the flags. Whose says whose certificate it is.
func (f *certificateFlags) add(cmd *cobra.Command, whose, authoritiesAre string) {
	flags := cmd.Flags()
	flags.StringVar(&f.certs, "certs", "", "directory of sallyport ca, in place of --certificate, --key and --ca")
	flags.StringVar(&f.name, "name", "", "name of the certificate in --certs")
	flags.StringVar(&f.certificate, "certificate", "", "the "+whose+"'s certificate with its SPIFFE ID, PEM")
	flags.StringVar(&f.key, "key", "", "its private key, PEM")
	flags.StringVar(&f.authorities, "ca", "", authoritiesAre)
	cmd.MarkFlagsRequiredTogether("certs", "name")
	cmd.MarkFlagsRequiredTogether("certificate", "key", "ca")
	cmd.MarkFlagsMutuallyExclusive("certs", "certificate")
}

// paths are the files; empty if none are named.
func (f *certificateFlags) paths() svid.Paths {
	if f.certs != "" {
		return svid.Paths{
			Certificate: ca.CertificatePath(f.certs, f.name), Key: ca.KeyPath(f.certs, f.name), Authorities: ca.CertificatePath(f.certs, "ca"),
		}
	}
	return svid.Paths{Certificate: f.certificate, Key: f.key, Authorities: f.authorities}
}

// envoy are the files, for Envoy.
func (f *certificateFlags) envoy() envoy.Certificates {
	p := f.paths()
	return envoy.Certificates{Certificate: p.Certificate, Key: p.Key, CA: p.Authorities}
}
