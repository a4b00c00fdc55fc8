// Command clients asks for a page as any Go program would, with net/http's own
// Transport, and prints what came of it. The tests run it beside curl, get.py
// and get.mjs, which do the same: see docs/clients.md.
//
// The proxy is that of the environment, http_proxy and HTTPS_PROXY. If it is
// reached by mutual TLS, then PROXY_CERT, PROXY_KEY and PROXY_CA are the files of
// the client's certificate, of its key, and of the proxy's authority; HOST_CA is
// that of the hosts.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// outcome is what all the clients print.
type outcome struct {
	Status  int               `json:"status,omitempty"`  // of the answer
	Connect int               `json:"connect,omitempty"` // of the proxy's to CONNECT, if that is not 200
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Error   string            `json:"error,omitempty"`
}

const timeout = 20 * time.Second

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clients METHOD URL")
		os.Exit(2)
	}
	out, err := get(os.Args[1], os.Args[2])
	if err != nil {
		out.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		os.Exit(1)
	}
}

func get(method, target string) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if os.Getenv("PROXY_CERT") != "" {
		if transport.TLSClientConfig, err = mutual(); err != nil {
			return out, err
		}
	}
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			out.Connect = answer.StatusCode
		}
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, method, target, nil) // #nosec G704: the test says which host to ask
	if err != nil {
		return out, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request) // #nosec G704: as above
	if err != nil {
		return out, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	out.Status, out.Headers = answer.StatusCode, make(map[string]string)
	for name := range answer.Header {
		out.Headers[http.CanonicalHeaderKey(name)] = answer.Header.Get(name)
	}
	body, err := io.ReadAll(answer.Body)
	out.Body = string(body)
	return out, err
}

// mutual is one configuration for both TLS connections, to the proxy and inside
// it: net/http has no other. So both authorities are in the pool; a host gets the
// certificate only if it asks for one.
func mutual() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(os.Getenv("PROXY_CERT"), os.Getenv("PROXY_KEY"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, name := range []string{"PROXY_CA", "HOST_CA"} {
		pem, err := os.ReadFile(os.Getenv(name)) // #nosec G703: the test says which file
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in %s", name, os.Getenv(name))
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, RootCAs: roots}, nil
}
