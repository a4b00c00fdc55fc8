package main

import (
	"fmt"
	"net/netip"
	"path"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/ca"
	"sallyport/pkg/question"
)

func newCA() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Certificates for trying sallyport out",
		Long: `A small certificate authority in a directory, for a first evening and for tests.

It is not for production: its key lies there unencrypted, nothing is logged,
nothing can be revoked, and whoever can read the directory can be any workload.
Use SPIRE, cert-manager or your own authority for anything that matters.`,
		Example: `  sallyport ca init --dir certs
  sallyport ca issue --dir certs --spiffe spiffe://cluster.local/ns/default/sa/sleep-us`,
		Args: noSuchCommand,
		RunE: needsCommand,
	}
	cmd.AddCommand(newCAInit(), newCAIssue())
	return cmd
}

func newCAInit() *cobra.Command {
	var dir string
	var options ca.Options
	cmd := &cobra.Command{
		Use:   "init --dir DIR",
		Short: "Make a certificate authority",
		Long: `Make a root certificate and its key, DIR/ca.crt and DIR/ca.key. The directory is
created if need be. An authority that is there already is left alone, unless
--force replaces it: then everything that it issued must be issued again.`,
		Example: `  sallyport ca init --dir certs
  sallyport ca init --dir certs --name lab-ca --lifetime 720h`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the authority")
	cmd.Flags().StringVar(&options.CommonName, "name", "", "what people see (default \"sallyport development CA\")")
	cmd.Flags().DurationVar(&options.Lifetime, "lifetime", ca.DefaultRootLifetime, "how long the root is valid")
	cmd.Flags().BoolVar(&options.Force, "force", false, "replace an authority that is there already")
	required(cmd, "dir")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		if options.Lifetime <= 0 {
			return usage("--lifetime must be positive")
		}
		a, err := ca.Create(dir, options)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, valid until %s\n", a.CertificatePath(), date(a.Certificate().NotAfter))
		return err
	})
	return cmd
}

func newCAIssue() *cobra.Command {
	var dir, out string
	var addresses []string
	var request ca.Request
	cmd := &cobra.Command{
		Use:   "issue --dir DIR (--spiffe ID | --dns NAME) [--out NAME]",
		Short: "Issue a certificate",
		Long: `Issue a certificate with a new key, DIR/NAME.crt and DIR/NAME.key, over what is
there: an Envoy that uses them takes the new ones over without dropping a
connection.

With a SPIFFE ID it is good for both ends of mutual TLS, for a workload's proxy
as for a gateway. With DNS names or addresses alone it is a plain server's.`,
		Example: `  # a workload
  sallyport ca issue --dir certs --spiffe spiffe://cluster.local/ns/default/sa/sleep-us
  # a gateway
  sallyport ca issue --dir certs --spiffe spiffe://cluster.local/ns/egress/sa/gateway \
    --dns gateway.example.com --out gateway
  # a pretend host on the internet
  sallyport ca issue --dir certs --out wikipedia \
    --dns en.wikipedia.org --dns es.wikipedia.org`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of the authority, where the files go")
	cmd.Flags().StringVar(&request.ID, "spiffe", "", "SPIFFE ID")
	cmd.Flags().StringSliceVar(&request.DNSNames, "dns", nil, "DNS name; may be repeated")
	cmd.Flags().StringSliceVar(&addresses, "address", nil, "IP address; may be repeated")
	cmd.Flags().StringVar(&out, "out", "", "name of the files (default: the last part of the SPIFFE ID, or the DNS name)")
	cmd.Flags().DurationVar(&request.Lifetime, "lifetime", ca.DefaultLifetime, "how long the certificate is valid")
	required(cmd, "dir")
	cmd.MarkFlagsOneRequired("spiffe", "dns", "address")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		if request.Lifetime <= 0 {
			return usage("--lifetime must be positive")
		}
		request.ID = question.SPIFFEID(request.ID)
		for _, s := range addresses {
			address, err := netip.ParseAddr(s)
			if err != nil {
				return usage("--address: %q is not an IP address", s)
			}
			request.Addresses = append(request.Addresses, address)
		}
		a, err := ca.Load(dir)
		if err != nil {
			return err
		}
		name := out
		if name == "" {
			name = fileName(request)
		}
		c, err := a.IssueFile(name, request)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s and %s, valid until %s\n",
			ca.CertificatePath(dir, name), ca.KeyPath(dir, name), date(c.Certificate.NotAfter))
		return err
	})
	return cmd
}

// fileName is the name of a certificate's files if nobody gives one.
func fileName(r ca.Request) string {
	switch {
	case r.ID != "":
		return path.Base(r.ID)
	case len(r.DNSNames) > 0:
		return r.DNSNames[0]
	default:
		return r.Addresses[0].String()
	}
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }
