package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/pkg/lab"
)

// internetOptions are the flags of `sallyport demo internet`.
type internetOptions struct {
	address     string
	dir         string
	port, ofDNS uint16
}

func newDemoInternet() *cobra.Command {
	var o internetOptions
	cmd := &cobra.Command{
		Use:   "internet --address IP --dir DIR",
		Short: "Run the demo's pretend internet alone, for gateways on other machines",
		Long: `Run a DNS server, and a web server that it leads to, at one address: the pretend
internet of ` + "`sallyport demo`" + `, for gateways in containers and on other machines. It
knows five Wikipedias and www.google.com; other names do not exist.

Its certificates are of an authority that it makes anew at each start. DIR/ca.crt
is that authority's certificate, which clients must trust, and which anybody may
read; its key is in DIR/internet, which nobody else may.`,
		Example: `  sallyport demo internet --address 172.31.53.10 --dir /var/lib/internet
  sallyport demo internet --address 127.0.0.1 --dir /tmp --port 8443 --dns-port 5353`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.address, "address", "", "IP address of this machine, at which both listen")
	flags.StringVar(&o.dir, "dir", "", "where the authority's files go")
	flags.Uint16Var(&o.port, "port", 443, "port of the web server")
	flags.Uint16Var(&o.ofDNS, "dns-port", 53, "port of the DNS server, UDP and TCP")
	required(cmd, "address", "dir")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		return runInternet(cmd.Context(), cmd.OutOrStdout(), o)
	})
	return cmd
}

// runInternet runs it until the context ends.
func runInternet(ctx context.Context, w io.Writer, o internetOptions) (err error) {
	address, err := netip.ParseAddr(o.address)
	if err != nil || address.IsUnspecified() {
		return usage("--address: %q is not an address that DNS could lead to", o.address)
	}
	internet, err := lab.NewSharedInternet(o.dir, netip.AddrPortFrom(address, o.ofDNS), netip.AddrPortFrom(address, o.port), lab.Wikipedia()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, internet.Close()) }()
	trust, err := publish(internet.Root.CertificatePath(), o.dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "DNS: %s, sites: %s, trust: %s\n", internet.DNS.Address(), internet.Origins()[0].Address(), trust)
	<-ctx.Done()
	return nil
}

// publish copies a certificate to where other users can read it.
func publish(certificate, dir string) (string, error) {
	content, err := os.ReadFile(certificate)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(certificate))
	// Not over what is there: the mode of a new file is what is asked for.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return path, os.WriteFile(path, content, 0o644) //nolint:gosec // to the directory that somebody named
}
