package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// clientFlags say how to ask a control plane that does not answer everybody: the other
// side of httpOptions.
type clientFlags struct {
	token            string
	authorities      string
	certificate, key string
}

// add adds the flags, and returns their names.
func (f *clientFlags) add(cmd *cobra.Command) []string {
	flags := cmd.Flags()
	flags.StringVar(&f.token, "token-file", "", "file with the token of the control plane, as in serve --http-token-file")
	flags.StringVar(&f.authorities, "ca", "", "authorities of an https:// control plane, PEM (default: those of the system)")
	flags.StringVar(&f.certificate, "certificate", "", "certificate to show to the control plane, PEM")
	flags.StringVar(&f.key, "key", "", "its private key, PEM")
	cmd.MarkFlagsRequiredTogether("certificate", "key")
	return []string{"token-file", "ca", "certificate", "key"}
}

// client asks the way the flags say, and shows the token to a server alone.
func (f *clientFlags) client(server string) (http.Client, error) {
	if f.token == "" && f.authorities == "" && f.certificate == "" {
		return http.Client{}, nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if f.authorities != "" {
		data, err := os.ReadFile(f.authorities)
		if err != nil {
			return http.Client{}, fmt.Errorf("--ca: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(data) {
			return http.Client{}, fmt.Errorf("--ca: there is no certificate in %s", f.authorities)
		}
	}
	if f.certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.key)
		if err != nil {
			return http.Client{}, fmt.Errorf("--certificate: %w", err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	bearer := &bearer{next: transport, host: server}
	if f.token != "" {
		data, err := os.ReadFile(f.token)
		if err != nil {
			return http.Client{}, fmt.Errorf("--token-file: %w", err)
		}
		bearer.token = strings.TrimSpace(string(data))
	}
	return http.Client{Transport: bearer}, nil
}

// bearer shows a token to one host.
type bearer struct {
	next        http.RoundTripper
	host, token string
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" && r.URL.Host == b.host {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}
