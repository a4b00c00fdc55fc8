package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"sallyport/pkg/ca"
	"sallyport/pkg/control"
	"sallyport/pkg/doorkeeper"
	"sallyport/pkg/flows/store"
	"sallyport/pkg/ui"
	"sallyport/xds/server"
)

// These bound what a client of the HTTP port can hold on to.
const (
	httpReadTimeout  = 10 * time.Second
	httpWriteTimeout = 30 * time.Second
	httpIdleTimeout  = 2 * time.Minute
	httpStopTimeout  = 5 * time.Second
	httpHeaderBytes  = 64 << 10
)

// httpOptions are the flags of `sallyport serve` about its HTTP port.
type httpOptions struct {
	address          string
	token            string
	certs, name      string
	certificate, key string
	clientCA         string
	allow, hosts     []string
}

func (o *httpOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.address, "http", "127.0.0.1:8080", "HOST:PORT to serve the page, status and metrics at; empty for none")
	flags.StringVar(&o.token, "http-token-file", "", "file with the token that lets in to HTTP, 16 or more characters drawn at random")
	flags.StringVar(&o.certificate, "http-certificate", "", "certificate to serve HTTP with TLS, PEM")
	flags.StringVar(&o.key, "http-key", "", "its private key, PEM")
	flags.StringVar(&o.certs, "http-certs", "", "directory of sallyport ca, in place of --http-certificate and --http-key")
	flags.StringVar(&o.name, "http-name", "", "name of the certificate in --http-certs")
	flags.StringVar(&o.clientCA, "http-client-ca", "", "authorities of clients that are let in to HTTP with a certificate, PEM")
	flags.StringSliceVar(&o.allow, "http-allow", nil, "SPIFFE ID of such a client, with a * at its end all that begin so; * for any; may be repeated")
	flags.StringSliceVar(&o.hosts, "http-host", nil, "name that HTTP is asked by, besides localhost and those of the certificate; may be repeated")
	cmd.MarkFlagsRequiredTogether("http-certificate", "http-key")
	cmd.MarkFlagsRequiredTogether("http-certs", "http-name")
	cmd.MarkFlagsMutuallyExclusive("http-certs", "http-certificate")
	cmd.MarkFlagsRequiredTogether("http-client-ca", "http-allow")
}

// tls are the files to serve with; nil for plain HTTP.
func (o *httpOptions) tls(log *logrus.Logger) (*doorkeeper.TLS, error) {
	t := doorkeeper.TLSOptions{
		Certificate: o.certificate, Key: o.key, ClientCA: o.clientCA, Allow: o.allow, Report: func(err error) { log.Error(err) },
	}
	if o.certs != "" {
		t.Certificate, t.Key = ca.CertificatePath(o.certs, o.name), ca.KeyPath(o.certs, o.name)
	}
	if t.Certificate == "" {
		return nil, nil
	}
	return doorkeeper.NewTLS(t)
}

// check refuses what would tell anyone who can connect what the policy is, or show the
// token to the network.
func (o *httpOptions) check(insecure bool) error {
	if o.address == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(o.address); err != nil {
		return fmt.Errorf("--http: %q is not an address to listen on, HOST:PORT: %w", o.address, err)
	}
	encrypted := o.certificate != "" || o.certs != ""
	switch {
	case o.clientCA != "" && !encrypted:
		return errors.New("--http-client-ca: certificates of clients need TLS: give --http-certificate and --http-key, too")
	case server.CheckListenAddress(o.address, insecure) == nil:
		return nil
	case o.token != "" && !encrypted:
		return fmt.Errorf("--http: refusing to listen at %s without TLS: the token would cross the network for anyone to read; "+
			"give --http-certificate and --http-key, or --insecure-listen if the network protects the port", o.address)
	case o.token == "" && o.clientCA == "":
		return fmt.Errorf("--http: refusing to listen at %s: the page and the status tell anyone who can connect what the policy is and who goes where; "+
			"use a loopback address such as 127.0.0.1, give --http-token-file or --http-client-ca, "+
			"or --insecure-listen if the network protects the port", o.address)
	default:
		return nil
	}
}

// httpPort is the port, listening.
type httpPort struct {
	listener net.Listener
	tls      *doorkeeper.TLS
	handler  http.Handler
	log      *logrus.Logger
}

// quietly logs what goes wrong between the server and clients, such as a handshake.
type quietly struct{ *logrus.Logger }

// Write implements io.Writer.
func (q quietly) Write(line []byte) (int, error) {
	q.Debug(strings.TrimSpace(string(line)))
	return len(line), nil
}

// open listens, and makes what is served.
func (o *httpOptions) open(c *control.Controller, flows *store.Store, log *logrus.Logger, insecure bool) (*httpPort, error) {
	p := &httpPort{log: log}
	var err error
	if p.tls, err = o.tls(log); err != nil {
		return nil, fmt.Errorf("HTTP: %w", err)
	}
	door := doorkeeper.Options{
		Logger: log, TLS: p.tls, Names: o.hosts, AnyName: insecure, Inside: ui.Root, SignIn: ui.SignInPath,
	}
	if o.token != "" {
		door.Token, err = doorkeeper.ReadToken(o.token, func(err error) { log.Error(err) })
		if err != nil {
			return nil, fmt.Errorf("--http-token-file: %w", err)
		}
	}
	var keeper *doorkeeper.Doorkeeper
	page, err := ui.New(ui.Options{
		Control: c, Flows: flows, Logger: log, Version: buildVersion().Version,
		SignedIn: func(r *http.Request) bool { return keeper.SignedIn(r) },
	})
	if err != nil {
		return nil, err
	}
	door.SignInPage = page.SignIn
	keeper = doorkeeper.New(door)
	p.handler = routes(c.Handler(), flows, page, keeper)
	if p.listener, err = net.Listen("tcp", o.address); err != nil {
		return nil, fmt.Errorf("HTTP: %w", err)
	}
	return p, nil
}

// routes are all that the port serves.
func routes(status http.Handler, flows *store.Store, page *ui.UI, keeper *doorkeeper.Doorkeeper) http.Handler {
	guarded, pages := http.NewServeMux(), page.Handler()
	guarded.Handle("/", status)
	guarded.Handle("/flows", store.Handler(flows))
	guarded.Handle("/flows/", store.Handler(flows))
	guarded.Handle("/{$}", pages)
	guarded.Handle(ui.Root, pages)
	mux := http.NewServeMux()
	mux.Handle("/", keeper.Guard(guarded))
	mux.Handle(ui.AssetsPath, keeper.Open(page.Assets()))
	mux.Handle(ui.SignInPath, keeper.SignIn())
	mux.Handle(ui.SignOutPath, keeper.SignOut())
	for _, probe := range []string{"/healthz", "/readyz"} {
		mux.Handle(probe, keeper.Probe(status))
	}
	return mux
}

// base is the address of the port.
func (p *httpPort) base() string {
	scheme := "http://"
	if p.tls != nil {
		scheme = "https://"
	}
	return scheme + p.listener.Addr().String()
}

// serve serves until the context ends.
func (p *httpPort) serve(ctx context.Context) error {
	s := &http.Server{
		Handler: p.handler, ReadTimeout: httpReadTimeout, WriteTimeout: httpWriteTimeout, IdleTimeout: httpIdleTimeout,
		MaxHeaderBytes: httpHeaderBytes, ErrorLog: stdlog.New(quietly{p.log}, "", 0), BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStopTimeout)
		defer cancel()
		stopped <- s.Shutdown(within)
	}()
	var err error
	if p.tls != nil {
		s.TLSConfig = p.tls.Config()
		err = s.ServeTLS(p.listener, "", "")
	} else {
		err = s.Serve(p.listener)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
