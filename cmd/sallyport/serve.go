package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"sallyport/pkg/control"
	"sallyport/pkg/svid"
	"sallyport/policy/model"
	"sallyport/xds/server"
)

// serveOptions are the flags of `sallyport serve`.
type serveOptions struct {
	policies   string
	state      string
	xds        string
	http       httpOptions
	allowEmpty bool
	insecure   bool
	// certificates or spire is the control plane's identity; without one xDS is
	// plain text.
	certificates certificateFlags
	spire        string
	gatewayLog   []string
	flows        flowOptions
	logFormat    *format
	verbose      bool
}

func newServe() *cobra.Command {
	o := serveOptions{logFormat: &format{value: "text", allowed: []string{"text", "json"}}}
	cmd := &cobra.Command{
		Use:   "serve --policies DIR",
		Short: "Run the control plane",
		Long: `Watch a policy directory, and serve it to the gateways over xDS (ADS). An edit is
enforced within milliseconds. An edit with an error is refused as a whole: the
log and /status say what is wrong in which line, and what was in force stays.

With --state what is in force is kept on disk too, and served after a restart with
a broken, empty or missing policy directory, until that is corrected. Grants that
expired meanwhile do not come back. Without it nothing is served then.

HTTP serves a page for browsers at / (the fleet, who was refused and why), and for
programs /healthz, /readyz, /status (see ` + "`sallyport status`" + `), /flows (see
` + "`sallyport flows`" + `), and /metrics for Prometheus.

Gateways stream their access logs over the same port as xDS, unless spec.accessLog of
their EgressGateway says otherwise: who went where or was refused, and by which line
of which file. The latest are kept for ` + "`sallyport flows`" + `, in memory or with
--flow-store on disk; --flows writes all of them to a file, and --flows-otlp sends
them to OpenTelemetry. With --gateway-log it follows log files of gateways on this
machine too, and writes on standard output. Its own log goes to standard error.

With a certificate of its own (--certs, --certificate, or --spire), xDS is mutual
TLS: a gateway may have the configuration of the EgressGateway whose spec.nodes
have its SPIFFE ID, whatever it calls itself. Certificates are read again when they
change. Without one, xDS must be on loopback, unless --insecure-listen says
otherwise.

So must HTTP be without --http-token-file, for a token that people sign in with and
programs send (Authorization: Bearer), or --http-client-ca, for mutual TLS. A token
needs TLS (--http-certificate) where other machines can see it. Either is enough if
both are given; /healthz and /readyz then only say yes or no to everybody else.`,
		Example: `  sallyport serve --policies examples/wikipedia
  sallyport serve --policies policies --gateway-log /var/log/envoy/access.log \
    --log-format json
  # then, for each gateway
  sallyport bootstrap gateway --cluster egress > gateway.yaml

  # for gateways on other machines
  sallyport serve --policies policies --xds 0.0.0.0:18000 --certs certs \
    --name control-plane
  sallyport serve --policies policies --xds 0.0.0.0:18000 \
    --spire unix:///run/spire/agent.sock

  # the page for people on other machines
  openssl rand -hex 32 > token
  sallyport serve --policies policies --http 0.0.0.0:8443 --http-token-file token \
    --http-certificate web.crt --http-key web.key`,
		Args: cobra.NoArgs,
	}
	policiesFlag(cmd, &o.policies)
	flags := cmd.Flags()
	stateFlag(flags, &o.state)
	flags.StringVar(&o.xds, "xds", "127.0.0.1:18000", "HOST:PORT to serve xDS at; port 0 is any free one")
	o.http.add(cmd)
	flags.BoolVar(&o.allowEmpty, "allow-empty", false, "take a directory without policy files for a policy, not for a mistake")
	flags.BoolVar(&o.insecure, "insecure-listen", false, "permit addresses that other machines can reach")
	o.certificates.add(cmd, "control plane", "the authorities of gateways, PEM")
	flags.StringVar(&o.spire, "spire", "", "socket of SPIRE's Workload API, for the control plane's certificate and the authorities of gateways")
	cmd.MarkFlagsMutuallyExclusive("spire", "certs", "certificate")
	flags.StringSliceVar(&o.gatewayLog, "gateway-log", nil, "access log of a gateway to follow; may be repeated")
	o.flows.add(cmd)
	flags.Var(o.logFormat, "log-format", "how to write logs")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error { return serve(cmd, o) })
	return cmd
}

// serve runs the control plane until the command's context ends.
func serve(cmd *cobra.Command, o serveOptions) error {
	if err := o.checkAddresses(); err != nil {
		return usage("%v", err)
	}
	log := o.logger(cmd)
	saveMemory()
	directory, err := filepath.Abs(o.policies)
	if err != nil {
		return err
	}
	keeper, release, err := o.keeper(directory)
	if err != nil {
		return err
	}
	defer func() { _ = release() }() // the process ends
	own, stop, err := o.identity(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer func() { _ = stop() }() // the process ends
	xds, err := net.Listen("tcp", o.xds)
	if err != nil {
		return fmt.Errorf("xDS: %w", err)
	}
	var controller *control.Controller
	flow, err := o.flows.open(cmd.Context(), cmd.OutOrStdout(), log, func() *model.Model { return controller.Model() })
	if err != nil {
		return errors.Join(err, xds.Close())
	}
	ads := server.New(server.Options{Logger: log, TLS: serverTLS(own), AccessLogs: flow.received})
	controller = control.New(control.Options{
		Directory: directory, Logger: log, Server: ads, AllowEmpty: o.allowEmpty, Keeper: keeper, CertificateExpires: expiry(own),
		Collectors: flow.collectors(ads.LogStreams),
	})
	parts := newTogether(cmd.Context())
	flow.run(parts)
	if own != nil {
		parts.run("the certificate", func(ctx context.Context) error { return watchExpiry(ctx, own, log) })
	}
	parts.run("xDS", func(ctx context.Context) error { return ads.Serve(ctx, xds) })
	status := "off"
	if o.http.address != "" {
		port, err := o.http.open(controller, flow.store, log, o.insecure)
		if err != nil {
			return errors.Join(err, parts.stop())
		}
		status = port.base() + "/status"
		parts.run("HTTP", port.serve)
	}
	log.Infof("sallyport %s", buildVersion())
	log.Infof("policy directory: %s", directory)
	if keeper != nil {
		log.Infof("last good policy: %s", keeper.Path())
	}
	log.Infof("flows: %s", flow.kept())
	log.Infof("xDS: %s, status: %s", xds.Addr(), status)
	log.Info(o.gatewayHint(own, xds.Addr()))
	parts.run("the policy directory", controller.Run)
	sink := &flowSink{
		log: log, model: controller.Model,
		printer: flowPrinter{w: cmd.OutOrStdout(), form: o.logFormat.value},
	}
	for _, path := range o.gatewayLog {
		parts.run(path, func(ctx context.Context) error { return sink.follow(ctx, path) })
	}
	err = parts.wait()
	log.Info("stopped; the gateways go on with what they have")
	return err
}

// checkAddresses refuses addresses that others can reach.
func (o serveOptions) checkAddresses() error {
	authenticated := o.spire != "" || o.certificates.paths() != svid.Paths{}
	if err := server.CheckListenAddress(o.xds, o.insecure || authenticated); err != nil {
		return fmt.Errorf("--xds: %w (with --insecure-listen), or give the control plane a certificate (--certs, --certificate or --spire)", err)
	}
	return o.http.check(o.insecure)
}

func (o serveOptions) logger(cmd *cobra.Command) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	if o.logFormat.value == "json" {
		log.SetFormatter(&logrus.JSONFormatter{FieldMap: logrus.FieldMap{logrus.FieldKeyMsg: "message"}})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: !colours(cmd.ErrOrStderr()).on})
	}
	if o.verbose {
		log.SetLevel(logrus.DebugLevel)
	}
	return log
}
