package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/question"
)

func newBootstrap() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print what an Envoy starts from",
		Long: `Print the bootstrap of an Envoy, as a gateway or as a workload's proxy, on standard
output, and the command that runs it on standard error.

A gateway learns everything else from the control plane. A workload's proxy only
carries the workload's connections to the gateway, with the workload's identity.`,
		Example: `  sallyport bootstrap gateway --cluster egress > gateway.yaml
  sallyport bootstrap workload --http-gateway 127.0.0.1:15080 \
    --gateway-id spiffe://cluster.local/ns/egress/sa/gateway \
    --certs certs --name sleep-us > sleep-us.yaml`,
		Args: noSuchCommand,
		RunE: needsCommand,
	}
	cmd.AddCommand(newBootstrapGateway(), newBootstrapWorkload())
	return cmd
}

func newBootstrapGateway() *cobra.Command {
	var out outFlags
	var o envoy.GatewayOptions
	var own certificateFlags
	cmd := &cobra.Command{
		Use:   "gateway --cluster NAME",
		Short: "Print the bootstrap of a gateway",
		Long: `Print the bootstrap of one gateway of a group. It fetches everything it does from
the control plane and does nothing until then.

Its certificates for workloads are named by the EgressGateway document
(spec.certificates), as files on the gateway's own machine. Those for the control
plane are named here, and may be the same ones; their SPIFFE ID must be in
spec.nodes. Without them the control plane must be on loopback. They are watched,
through two small files, *.sds.yaml, which this command writes beside --out, or
beside the certificate.

With --spire they come from SPIRE's agent on the gateway's machine, and there are
no such files.`,
		Example: `  sallyport bootstrap gateway --cluster egress > gateway.yaml
  sallyport bootstrap gateway --cluster egress --control-plane 127.0.0.1:18000 \
    --id egress-1 --admin 127.0.0.1:9901 --out /etc/envoy/gateway.yaml
  sallyport bootstrap gateway --cluster egress --control-plane 10.0.0.5:18000 \
    --control-plane-id spiffe://cluster.local/ns/sallyport/sa/control-plane \
    --certs certs --name gateway --out /etc/envoy/gateway.yaml
  sallyport bootstrap gateway --cluster egress --control-plane 10.0.0.5:18000 \
    --control-plane-id spiffe://cluster.local/ns/sallyport/sa/control-plane \
    --spire unix:///run/spire/agent.sock > gateway.yaml`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Group, "cluster", "", "name of the EgressGateway that this gateway belongs to")
	flags.StringVar(&o.ID, "id", "", "name of this gateway in status and logs (default: CLUSTER-HOSTNAME)")
	flags.StringVar(&o.ControlPlane, "control-plane", "127.0.0.1:18000", "HOST:PORT of the control plane (xDS)")
	flags.StringVar(&o.ControlPlaneID, "control-plane-id", "", "SPIFFE ID that the control plane must prove (default: the host's name in its certificate)")
	own.add(cmd, "gateway", "the control plane's authorities, PEM")
	spireFlags(cmd, &o.SPIRE)
	cmd.MarkFlagsMutuallyExclusive("spire", "certs", "certificate")
	flags.BoolVar(&o.InsecureControlPlane, "insecure-control-plane", false,
		"permit plain text to a control plane on another machine")
	commonBootstrapFlags(cmd, &out, &o.Admin, &o.MaxConnections)
	required(cmd, "cluster")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		if o.ID == "" {
			o.ID = nodeID(o.Group)
		}
		o.Certificates, o.ControlPlaneID = own.envoy(), question.SPIFFEID(o.ControlPlaneID)
		o.SPIRE.Identity = question.SPIFFEID(o.SPIRE.Identity)
		o.Dir = filepath.Dir(out.path)
		if o.Certificates != (envoy.Certificates{}) {
			if out.path == "" {
				o.Dir = besideCertificate(o.Certificates)
			}
			if err := absolute(&o.Certificates.Certificate, &o.Certificates.Key, &o.Certificates.CA); err != nil {
				return err
			}
		}
		if err := absolute(&o.Dir); err != nil {
			return err
		}
		bundle, err := envoy.Gateway(o)
		if err != nil {
			return err
		}
		return printBootstrap(cmd, bundle, out, envoy.GatewayCommand)
	})
	return cmd
}

func newBootstrapWorkload() *cobra.Command {
	var out outFlags
	var dir string
	var files certificateFlags
	var o envoy.WorkloadOptions
	var wayIn string
	cmd := &cobra.Command{
		Use:   "workload (--http-gateway HOST:PORT | --gateway HOST:PORT) --gateway-id SPIFFE-ID (--certs DIR --name NAME | --certificate FILE --key FILE --ca FILE | --spire SOCKET)",
		Short: "Print the bootstrap of a workload's proxy",
		Long: `Print the bootstrap of the Envoy beside a workload. It takes the workload's own TLS
connections at --listen and carries them to the gateway through mutual TLS, with the
workload's certificate as its identity, in one of these ways:

  streams   as HTTP/2 CONNECT streams of a few connections that stay open, to the
            gateway's HTTP listener: the cheapest, and the default
  sessions  each in a connection of its own, to the gateway's MutualTLS listener, with
            a resumed session if that has sessionResumption: Allow: the default with
            --gateway alone
  full      the same, with a full handshake each time

With --http-gateway it also takes plain HTTP, at --http-listen, and carries it to
the gateway's HTTP listener: point http_proxy and https_proxy there, and any client
goes through the gateway.

The certificates are watched: Envoy takes new ones over without dropping a
connection. For that it reads them through two small files, *.sds.yaml, which
this command writes into --dir. With --spire they come from SPIRE's agent on the
workload's machine, and there are no such files.

Whoever reaches an address it listens on speaks with the workload's identity, so
it must be on loopback, unless --listen-anywhere says otherwise.`,
		Example: `  sallyport bootstrap workload --http-gateway 127.0.0.1:15080 \
    --gateway-id spiffe://cluster.local/ns/egress/sa/gateway \
    --certs certs --name sleep-us > sleep-us.yaml
  # then, in the workload, one of:
  curl --connect-to ::127.0.0.1:8443 https://en.wikipedia.org/
  https_proxy=http://127.0.0.1:15001 curl https://en.wikipedia.org/

  sallyport bootstrap workload --gateway 127.0.0.1:15443 \
    --gateway-id spiffe://cluster.local/ns/egress/sa/gateway \
    --certs certs --name sleep-us > sleep-us.yaml`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Gateway, "gateway", "", "HOST:PORT of the gateway's MutualTLS listener")
	flags.StringVar(&o.GatewayID, "gateway-id", "", "SPIFFE ID that the gateway must prove")
	flags.StringVar(&o.ID, "id", "", "name of this Envoy in its logs (default: the certificate's name, or workload-HOSTNAME)")
	flags.StringVar(&o.HTTPGateway, "http-gateway", "", "HOST:PORT of the gateway's HTTP listener")
	flags.StringVar(&wayIn, "way-in", "", "how TLS connections travel: streams, sessions or full; needed if both gateways are given")
	flags.DurationVar(&o.ConnectionAge, "connection-age", envoy.DefaultConnectionAge, "after how long a connection takes no new streams")
	flags.StringSliceVar(&o.Listen, "listen", []string{"127.0.0.1:8443"}, "IP:PORT to take TLS connections at, or empty for none; may be repeated")
	flags.StringSliceVar(&o.HTTPListen, "http-listen", []string{"127.0.0.1:15001"}, "IP:PORT to take HTTP at, with --http-gateway; may be repeated")
	flags.BoolVar(&o.ListenAnywhere, "listen-anywhere", false, "permit addresses that other machines can reach")
	files.add(cmd, "workload", "root certificates of the gateway, PEM")
	spireFlags(cmd, &o.SPIRE)
	cmd.MarkFlagsMutuallyExclusive("spire", "certs", "certificate")
	flags.StringVar(&dir, "dir", "", "where the *.sds.yaml files go (default: a directory beside the certificate, of its name)")
	commonBootstrapFlags(cmd, &out, &o.Admin, &o.MaxConnections)
	required(cmd, "gateway-id")
	cmd.MarkFlagsOneRequired("gateway", "http-gateway")
	cmd.MarkFlagsOneRequired("certs", "certificate", "spire")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		o.Certificates = files.envoy()
		o.GatewayID = question.SPIFFEID(o.GatewayID)
		o.WayIn = envoy.WayIn(wayIn)
		// What nobody asked for is not there without a gateway.
		if o.HTTPGateway == "" && !cmd.Flags().Changed("http-listen") {
			o.HTTPListen = nil
		}
		o.SPIRE.Identity = question.SPIFFEID(o.SPIRE.Identity)
		own := besideCertificate(o.Certificates)
		if o.ID == "" && o.SPIRE == (envoy.SPIRE{}) {
			o.ID = filepath.Base(own)
		} else if o.ID == "" {
			o.ID = nodeID("workload")
		}
		o.Dir = dir
		if dir == "" {
			o.Dir = own // workloads that share a directory of certificates must not share these files
		}
		paths := []*string{&o.Dir}
		if o.SPIRE == (envoy.SPIRE{}) {
			paths = append(paths, &o.Certificates.Certificate, &o.Certificates.Key, &o.Certificates.CA)
		}
		if err := absolute(paths...); err != nil {
			return err
		}
		bundle, err := envoy.Workload(o)
		if err != nil {
			return err
		}
		return printBootstrap(cmd, bundle, out, envoy.WorkloadCommand)
	})
	return cmd
}

// besideCertificate is a directory for what belongs to a certificate: whoever
// shares a directory of certificates must not share those files.
func besideCertificate(c envoy.Certificates) string {
	return strings.TrimSuffix(c.Certificate, filepath.Ext(c.Certificate))
}

// spireFlags name SPIRE's agent.
func spireFlags(cmd *cobra.Command, s *envoy.SPIRE) {
	cmd.Flags().StringVar(&s.Socket, "spire", "", "socket of SPIRE's agent, for certificates over its SDS: unix:///run/spire/agent.sock")
	cmd.Flags().StringVar(&s.Identity, "spire-id", "", "SPIFFE ID of the certificate to ask SPIRE for (default: the agent's default)")
}

// outFlags say what becomes of a bootstrap.
type outFlags struct {
	path string
	run  bool
}

func commonBootstrapFlags(cmd *cobra.Command, out *outFlags, admin *string, most *uint32) {
	flags := cmd.Flags()
	flags.StringVarP(&out.path, "out", "o", "", "write the bootstrap to this file instead of standard output")
	flags.BoolVar(&out.run, "run", false, "with --out: become the Envoy that runs it, as containers do")
	flags.StringVar(admin, "admin", "", "where Envoy's admin interface listens: 127.0.0.1:PORT or unix:PATH (default none)")
	flags.Uint32Var(most, "max-connections", envoy.DefaultMaxConnections, "connections that Envoy accepts at once")
}

// printBootstrap writes the bootstrap to a file or standard output, the files
// beside it where they belong, and on standard error how to run it; or it does
// run it, and does not return then.
func printBootstrap(cmd *cobra.Command, bundle *envoy.Bundle, out outFlags, command func(binary, config string) []string) error {
	if out.run && out.path == "" {
		return usage("--run needs --out: Envoy starts from a file")
	}
	for _, f := range bundle.Files[1:] {
		path := filepath.Join(bundle.Dir, f.Name)
		if err := errors.Join(os.MkdirAll(bundle.Dir, 0o755), ca.WriteFile(path, f.Content)); err != nil {
			return err
		}
		cmd.PrintErrln("# wrote", path)
	}
	path := bundle.Files[0].Name
	if out.path == "" {
		if _, err := cmd.OutOrStdout().Write(bundle.Bootstrap()); err != nil {
			return err
		}
	} else {
		path = out.path
		if err := os.WriteFile(path, bundle.Bootstrap(), 0o644); err != nil {
			return err
		}
		cmd.PrintErrln("# wrote", path)
	}
	if out.run {
		return become(cmd, command, path)
	}
	cmd.PrintErrln("# run it with:")
	cmd.PrintErrln(shell(command(envoyBinary(cmd.Context()), path)))
	return nil
}

// become replaces this process by Envoy. Nothing else shares its network or its
// memory, so it does without the sockets and the files of hot restarts.
func become(cmd *cobra.Command, command func(binary, config string) []string, config string) error {
	binary, err := envoy.Find(cmd.Context())
	if err != nil {
		return err
	}
	args := command(binary, config)
	if !slices.Contains(args, noHotRestart) {
		args = append(args, noHotRestart)
	}
	cmd.PrintErrln("# running:", shell(args))
	return envoy.Exec(args)
}

const noHotRestart = "--disable-hot-restart"

// envoyBinary is the Envoy to name in a command line.
func envoyBinary(ctx context.Context) string {
	path, err := envoy.Find(ctx)
	if err != nil {
		return "envoy" // where it is run, there may be one
	}
	return path
}

// shell joins a command line so that it can be pasted into a shell.
func shell(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`&|;<>()*?[]#~!{}") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// nodeID is a name for one of several Envoys.
func nodeID(prefix string) string {
	host, err := os.Hostname()
	if err != nil {
		return prefix
	}
	return fmt.Sprintf("%s-%s", prefix, host)
}

// absolute makes paths independent of the working directory.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
