package demo

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/control"
	"sallyport/pkg/svid"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/xds/server"
)

// InProcess is a control plane in this process.
type InProcess struct {
	controller *control.Controller
	policies   string
	address    netip.AddrPort
	cancel     context.CancelFunc
	ended      chan error
}

// StartInProcess starts a control plane on a free port of loopback. It speaks
// mutual TLS with gateways, as it would on a network. logs takes what they log; nil for
// nobody.
func StartInProcess(policies string, own svid.Paths, log *logrus.Logger, logs server.AccessLogs) (*InProcess, error) {
	identity, err := svid.NewFiles(own, func(err error) { log.Error(err) })
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	xds := server.New(server.Options{Logger: log, TLS: svid.ServerTLS(identity), AccessLogs: logs})
	p := &InProcess{
		controller: control.New(control.Options{Directory: policies, Logger: log, Server: xds}),
		policies:   policies,
		address:    listener.Addr().(*net.TCPAddr).AddrPort(),
		cancel:     cancel,
		ended:      make(chan error, 2),
	}
	go func() { p.ended <- xds.Serve(ctx, listener) }()
	go func() { p.ended <- p.controller.Run(ctx) }()
	return p, nil
}

// XDS is the address that gateways connect to.
func (p *InProcess) XDS() netip.AddrPort { return p.address }

// Gateway is the policy in force for the stack's gateway, nil before the first.
func (p *InProcess) Gateway() *model.Gateway {
	if m := p.controller.Model(); m != nil {
		return m.FindGateway(Group)
	}
	return nil
}

// Settle waits until the gateways have what the directory says now.
func (p *InProcess) Settle(ctx context.Context) error {
	var loader policy.Loader
	want := loader.Load(p.policies, time.Now())
	if err := want.Diagnostics.Err(); err != nil {
		return err
	}
	digest := hex.EncodeToString(want.Digest[:])
	for {
		status := p.controller.Status()
		settled := len(status.Errors) == 0 && strings.HasPrefix(digest, status.Digest) && status.Digest != ""
		for _, g := range status.Groups {
			settled = settled && g.Current == g.Nodes
		}
		if settled {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stop ends it.
func (p *InProcess) Stop() error {
	p.cancel()
	return errors.Join(<-p.ended, <-p.ended)
}
