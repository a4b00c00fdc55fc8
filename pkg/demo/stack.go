// Package demo is the whole of sallyport on one machine: a development CA, a
// pretend internet, a control plane, a real Envoy as gateway and one as each
// workload's proxy, and the scenarios that show what it is for. `sallyport demo`
// runs it, and the end-to-end tests stand on its Stack.
package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
)

// Identities of the stack.
const (
	TrustDomain = "cluster.local"
	// Group is the name of the EgressGateway document.
	Group     = "egress"
	GatewayID = "spiffe://" + TrustDomain + "/ns/istio-system/sa/egressgateway"
	// ControlPlaneID is the control plane's.
	ControlPlaneID = "spiffe://" + TrustDomain + "/ns/sallyport/sa/control-plane"
	// controlPlaneName is what its files are called.
	controlPlaneName = "control-plane"
)

// WorkloadID is the SPIFFE ID of a service account: NAME in namespace default,
// or NAMESPACE/NAME.
func WorkloadID(serviceAccount string) string {
	namespace, name, ok := strings.Cut(serviceAccount, "/")
	if !ok {
		namespace, name = "default", serviceAccount
	}
	return "spiffe://" + TrustDomain + "/ns/" + namespace + "/sa/" + name
}

// fileName is what a workload's files and its Envoy are called.
func fileName(serviceAccount string) string { return strings.ReplaceAll(serviceAccount, "/", ".") }

// ControlPlane is a running control plane.
type ControlPlane interface {
	// XDS is the address that gateways connect to.
	XDS() netip.AddrPort
	// Stop ends it and waits until it is gone.
	Stop() error
}

// Options describe a Stack.
type Options struct {
	// Dir holds everything that is written; it must exist.
	Dir string
	// Envoy is the binary; found as envoy.Find does if empty.
	Envoy string
	// Sites are the pretend internet; lab.Wikipedia if nil.
	Sites []lab.Site
	// Port is where the sites listen; any free one if 0.
	Port uint16
	// Workloads are service accounts, each with a proxy: see WorkloadID.
	Workloads []string
	// HTTP gives the gateway a listener for HTTP clients, and the workloads'
	// proxies one for plain HTTP.
	HTTP bool
	// WayIn is how the workloads' proxies carry TLS connections to the gateway: as
	// streams if there is a listener for HTTP, unless it says otherwise.
	WayIn envoy.WayIn
	// ConnectionAge is WorkloadOptions.ConnectionAge.
	ConnectionAge time.Duration
	// StartControl starts the control plane for a policy directory, with a
	// certificate of its own.
	StartControl func(ctx context.Context, policies string, own svid.Paths) (ControlPlane, error)
	// SPIRE returns the agent of SPIRE for an Envoy, the gateway or a workload's
	// proxy with its SPIFFE ID; it is called when the stack has its CA. Nil: all of
	// them have files.
	SPIRE func(s *Stack, id string) (envoy.SPIRE, error)
	// AccessLog is given every line of the gateway's access log.
	AccessLog func(line string)
	// EnvoyLog is given every line that an Envoy logs; nil drops them.
	EnvoyLog func(who, line string)
	// Progress is told what is being started; nil for silence.
	Progress func(format string, args ...any)
}

// Stack is everything running. Use Start.
type Stack struct {
	Dir      string
	Policies string
	Internet *lab.Internet
	CA       *ca.Authority
	Control  ControlPlane
	Gateway  *envoy.Process
	// MutualTLS, TLS and HTTP are the gateway's entries. There is no HTTP unless
	// Options ask for it.
	MutualTLS netip.AddrPort
	TLS       netip.AddrPort
	HTTP      netip.AddrPort

	options   Options
	spire     envoy.SPIRE // the gateway's agent
	ports     []*lab.Port
	workloads map[string]*workload
}

type workload struct {
	process *envoy.Process
	address netip.AddrPort
	http    netip.AddrPort // invalid without Options.HTTP
}

// Start brings a stack up: when it returns, the gateway has its first policy
// and every workload's proxy listens. Close ends it, also after an error.
func Start(ctx context.Context, o Options) (s *Stack, err error) {
	s = &Stack{
		Dir: o.Dir, Policies: filepath.Join(o.Dir, "policies"), options: o,
		workloads: make(map[string]*workload),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.options.Envoy == "" {
		if s.options.Envoy, err = envoy.Find(ctx); err != nil {
			return s, err
		}
	}
	sites := o.Sites
	if sites == nil {
		sites = lab.Wikipedia()
	}
	s.progress("a pretend internet: DNS, and %d sites on loopback", len(sites))
	if s.Internet, err = lab.NewInternetAt(o.Dir, o.Port, sites...); err != nil {
		return s, err
	}
	s.progress("a development CA, and certificates for the gateway and %v", o.Workloads)
	if err = s.issue(); err != nil {
		return s, err
	}
	if o.SPIRE != nil {
		if s.spire, err = o.SPIRE(s, GatewayID); err != nil {
			return s, err
		}
	}
	if err = s.reserve(); err != nil {
		return s, err
	}
	if err = os.MkdirAll(s.Policies, 0o755); err != nil {
		return s, err
	}
	if err = s.Write("gateway.yaml", s.GatewayDocument()); err != nil {
		return s, err
	}
	s.progress("the control plane, watching %s", s.Policies)
	if s.Control, err = o.StartControl(ctx, s.Policies, s.ControlPlaneCertificate()); err != nil {
		return s, err
	}
	s.progress("a gateway: %s", s.options.Envoy)
	if err = s.StartGateway(ctx); err != nil {
		return s, err
	}
	for _, name := range o.Workloads {
		s.progress("the proxy of %s", name)
		if err = s.startWorkload(ctx, name); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *Stack) progress(format string, args ...any) {
	if s.options.Progress != nil {
		s.options.Progress(format, args...)
	}
}

func (s *Stack) certs() string { return filepath.Join(s.Dir, "certs") }

func (s *Stack) issue() (err error) {
	if s.CA, err = ca.Create(s.certs(), ca.Options{Force: true}); err != nil {
		return err
	}
	// Workloads' proxies know the gateway by its identity, HTTP clients by the
	// address they dial.
	gateway := ca.Gateway(GatewayID)
	gateway.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	if _, err = s.CA.IssueFile("gateway", gateway); err != nil {
		return err
	}
	if _, err = s.CA.IssueFile(controlPlaneName, ca.Gateway(ControlPlaneID)); err != nil {
		return err
	}
	for _, name := range s.options.Workloads {
		if _, err = s.CA.IssueFile(fileName(name), ca.Workload(WorkloadID(name))); err != nil {
			return err
		}
	}
	return nil
}

// Certificates are the files of a workload of the stack.
func (s *Stack) Certificates(name string) envoy.Certificates {
	return envoy.Certificates{
		Certificate: ca.CertificatePath(s.certs(), fileName(name)), Key: ca.KeyPath(s.certs(), fileName(name)),
		CA: s.CA.CertificatePath(),
	}
}

// ControlPlaneCertificate are the files of the control plane.
func (s *Stack) ControlPlaneCertificate() svid.Paths { return ControlPlaneCertificate(s.Dir) }

// ControlPlaneCertificate are the files of the control plane of a stack in a
// directory.
func ControlPlaneCertificate(dir string) svid.Paths {
	certs := filepath.Join(dir, "certs")
	return svid.Paths{
		Certificate: ca.CertificatePath(certs, controlPlaneName), Key: ca.KeyPath(certs, controlPlaneName), Authorities: ca.CertificatePath(certs, "ca"),
	}
}

// Credential issues a certificate for tests that speak for themselves.
func (s *Stack) Credential(id string) (*ca.Credential, error) { return s.CA.Issue(ca.Workload(id)) }

func (s *Stack) reserve() error {
	entries := []*netip.AddrPort{&s.MutualTLS, &s.TLS}
	if s.options.HTTP {
		entries = append(entries, &s.HTTP)
	}
	for _, entry := range entries {
		port, err := lab.ReservePort()
		if err != nil {
			return err
		}
		s.ports = append(s.ports, port)
		*entry = port.Address()
	}
	return nil
}

// StartGateway starts the gateway's Envoy and waits until it has a policy.
func (s *Stack) StartGateway(ctx context.Context) error {
	o := envoy.GatewayOptions{
		Dir: filepath.Join(s.Dir, "gateway"), ID: "gateway-1", Group: Group,
		ControlPlane: s.Control.XDS().String(), ControlPlaneID: ControlPlaneID, Admin: "127.0.0.1:0",
	}
	var err error
	if o.Certificates, o.SPIRE, err = s.identity("gateway", GatewayID); err != nil {
		return err
	}
	bundle, err := envoy.Gateway(o)
	if err != nil {
		return err
	}
	s.Gateway, err = s.run(ctx, "gateway", bundle, envoy.GatewayFlags(), s.options.AccessLog)
	return err
}

// identity is where an Envoy has its certificate from.
func (s *Stack) identity(name, id string) (files envoy.Certificates, spire envoy.SPIRE, err error) {
	if s.options.SPIRE == nil {
		return s.Certificates(name), envoy.SPIRE{}, nil
	}
	spire, err = s.options.SPIRE(s, id)
	return envoy.Certificates{}, spire, err
}

func (s *Stack) startWorkload(ctx context.Context, name string) error {
	o := envoy.WorkloadOptions{
		Dir: filepath.Join(s.Dir, fileName(name)), ID: fileName(name), Listen: []string{"127.0.0.1:0"},
		GatewayID: GatewayID, Admin: "127.0.0.1:0", WayIn: s.options.WayIn, ConnectionAge: s.options.ConnectionAge,
	}
	var err error
	if o.Certificates, o.SPIRE, err = s.identity(name, WorkloadID(name)); err != nil {
		return err
	}
	if s.options.HTTP {
		o.HTTPListen, o.HTTPGateway = []string{"127.0.0.1:0"}, s.HTTP.String()
	}
	if streams := o.WayIn == envoy.Streams || o.WayIn == "" && s.options.HTTP; !streams {
		o.Gateway = s.MutualTLS.String()
	}
	bundle, err := envoy.Workload(o)
	if err != nil {
		return err
	}
	process, err := s.run(ctx, name, bundle, nil, nil)
	if err != nil {
		return err
	}
	w := &workload{process: process}
	s.workloads[name] = w
	if w.address, err = process.Listening(ctx, envoy.OutListener(0)); err != nil || !s.options.HTTP {
		return err
	}
	w.http, err = process.Listening(ctx, envoy.HTTPListener(0))
	return err
}

func (s *Stack) run(ctx context.Context, who string, b *envoy.Bundle, flags []string, accessLog func(string)) (*envoy.Process, error) {
	if err := b.Write(); err != nil {
		return nil, err
	}
	// What Envoy logged last is worth more than "it is not ready" if it fails.
	p, err := envoy.Start(ctx, envoy.ProcessOptions{
		Binary: s.options.Envoy, Config: b.Path(), Flags: flags, Concurrency: 2, AccessLog: accessLog,
		Log: func(line string) {
			if s.options.EnvoyLog != nil {
				s.options.EnvoyLog(who, line)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the Envoy of %s: %w", who, err), p.Stop(time.Second))
	}
	return p, nil
}

// Workload is an app beside a workload's proxy.
func (s *Stack) Workload(name string) *lab.Client {
	return &lab.Client{Proxy: s.workloads[name].address.String(), Roots: s.Internet.Root.Pool()}
}

// ProxyUser is an app that speaks to the gateway's HTTP listener itself, with the
// workload's certificate.
func (s *Stack) ProxyUser(name string) (*lab.Proxied, error) {
	files := s.Certificates(name)
	certificate, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, err
	}
	return &lab.Proxied{Workload: &lab.Workload{
		Gateway: s.HTTP.String(), GatewayID: GatewayID, Certificate: certificate,
		Trust: s.CA.Pool(), Roots: s.Internet.Root.Pool(),
	}}, nil
}

// CurlProxy is a command line for an app that knows nothing but HTTPS_PROXY and
// its certificate.
func (s *Stack) CurlProxy(name, host string) string {
	files := s.Certificates(name)
	return fmt.Sprintf("curl -s --cacert %s --proxy https://%s --proxy-cert %s --proxy-key %s --proxy-cacert %s https://%s/",
		s.Internet.Root.CertificatePath(), s.HTTP, files.Certificate, files.Key, files.CA, host)
}

// Curl is a command line that does what the workload's app does.
func (s *Stack) Curl(name, host string) string {
	return fmt.Sprintf("curl -s --cacert %s --connect-to %s:443:%s https://%s/",
		s.Internet.Root.CertificatePath(), host, s.workloads[name].address, host)
}

// WorkloadHTTP is the proxy that the workload's programs are told of, as
// http_proxy and HTTPS_PROXY.
func (s *Stack) WorkloadHTTP(name string) netip.AddrPort { return s.workloads[name].http }

// WorkloadProcess is the workload's proxy.
func (s *Stack) WorkloadProcess(name string) *envoy.Process { return s.workloads[name].process }

// Write puts a policy file into place, whole, by a rename.
func (s *Stack) Write(name, content string) error {
	path := filepath.Join(s.Policies, name)
	temporary := filepath.Join(s.Dir, "."+name+".new")
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// Remove deletes a policy file.
func (s *Stack) Remove(name string) error { return os.Remove(filepath.Join(s.Policies, name)) }

// Close ends everything that was started, in the reverse order.
func (s *Stack) Close() error {
	var errs []error
	const grace = 3 * time.Second
	for _, w := range s.workloads {
		errs = append(errs, w.process.Stop(grace))
	}
	if s.Gateway != nil {
		errs = append(errs, s.Gateway.Stop(grace))
	}
	if s.Control != nil {
		errs = append(errs, s.Control.Stop())
	}
	for _, p := range slices.Backward(s.ports) {
		errs = append(errs, p.Close())
	}
	if s.Internet != nil {
		errs = append(errs, s.Internet.Close())
	}
	return errors.Join(errs...)
}
