package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// probeSize bounds what is read of an answer, in bytes.
const probeSize = 4096

func newProbe() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Ask whether a control plane or an Envoy is ready",
		Long: `Fetch a URL, and exit with 0 if the answer is 200, with 1 otherwise: the health
check of a container, whose image has no curl, of what listens on loopback only.

URL is http://HOST:PORT/PATH, https:// likewise, or unix:SOCKET:/PATH for a socket
in the file system. The certificate of https:// is not looked at, as it is of this
machine. A control plane answers at /healthz and /readyz, an Envoy's admin
interface (bootstrap --admin) at /ready.`,
		Example: `  sallyport probe http://127.0.0.1:8080/readyz
  sallyport probe http://127.0.0.1:9901/ready
  sallyport probe unix:/run/envoy/admin.sock:/ready`,
		Args: one("the URL to ask"),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "how long the answer may take")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		if timeout <= 0 {
			return usage("--timeout must be positive")
		}
		client, address, err := probed(args[0])
		if err != nil {
			return usage("%v", err)
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		return probe(ctx, client, address, args[0])
	})
	return cmd
}

// probed reads what is to be asked: who asks, and for what.
func probed(s string) (*http.Client, string, error) {
	transport := &http.Transport{ // and no proxy: it is this machine
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, // #nosec G402: nothing is told, and the answer is yes or no
	}
	client := &http.Client{Transport: transport}
	if rest, ok := strings.CutPrefix(s, "unix:"); ok {
		socket, path, ok := strings.Cut(rest, ":/")
		if !ok || socket == "" {
			return nil, "", fmt.Errorf("%q is not unix:SOCKET:/PATH", s)
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
		return client, "http://localhost/" + path, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, "", err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, "", fmt.Errorf("%q is neither http://HOST:PORT/PATH, nor https://…, nor unix:SOCKET:/PATH", s)
	}
	return client, s, nil
}

// probe is nil if the answer is 200. name is what the address is called.
func probe(ctx context.Context, client *http.Client, address, name string) error {
	answer, err := ask(ctx, client, address, name)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }() // nothing is lost by that
	if _, err := io.Copy(io.Discard, io.LimitReader(answer, probeSize)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
