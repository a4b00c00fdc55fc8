package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/pkg/control"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
	"sallyport/policy/model"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

// defective is a translator that gets the filter chain of one host wrong, in a way
// that only Envoy notices.
type defective struct{ control.Translator }

func (d defective) Translate(g *model.Gateway) (*translate.Resources, error) {
	res, err := d.Translator.Translate(g)
	if err != nil {
		return nil, err
	}
	for i, r := range res.Listeners {
		if !strings.HasPrefix(r.Name, "policy/") {
			continue
		}
		l := proto.Clone(r.Message).(*listener.Listener)
		for _, chain := range l.GetFilterChains() {
			if !strings.HasPrefix(chain.GetName(), de+"|") {
				continue
			}
			last := chain.GetFilters()[len(chain.GetFilters())-1]
			var packed anypb.Any
			if err := anypb.MarshalFrom(&packed, &tcpproxy.TcpProxy{StatPrefix: "x"}, proto.MarshalOptions{}); err != nil {
				return nil, err
			}
			last.ConfigType = &listener.Filter_TypedConfig{TypedConfig: &packed} // it leads nowhere
			res.Listeners[i].Message, res.Listeners[i].Version = l, r.Version+"-defective"
		}
	}
	return res, nil
}

// withDefect is a control plane in this process.
type withDefect struct {
	*control.Controller
	xds    netip.AddrPort
	cancel context.CancelFunc
	ended  chan error
}

func (w *withDefect) XDS() netip.AddrPort { return w.xds }

func (w *withDefect) Stop() error {
	w.cancel()
	return errors.Join(<-w.ended, <-w.ended)
}

// TestRejectedFilterChain: a listener of the policy that Envoy rejects is traced
// back to the files of its hosts, and no other host is touched by that.
func TestRejectedFilterChain(t *testing.T) {
	w := &withDefect{ended: make(chan error, 2)}
	r := rigWith(t, 2*time.Minute, func(o *demo.Options) {
		o.StartControl = func(_ context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			log := logrus.New()
			log.SetOutput(t.Output())
			identity, err := svid.NewFiles(own, func(err error) { log.Error(err) })
			if err != nil {
				return nil, err
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			w.xds = netip.MustParseAddrPort(l.Addr().String())
			var ctx context.Context
			ctx, w.cancel = context.WithCancel(context.Background())
			ads := server.New(server.Options{Logger: log, TLS: svid.ServerTLS(identity)})
			w.Controller = control.New(control.Options{
				Directory: policies, Logger: log, Server: ads,
				NewTranslator: func() control.Translator { return defective{translate.New()} },
			})
			go func() { w.ended <- ads.Serve(ctx, l) }()
			go func() { w.ended <- w.Run(ctx) }()
			return w, nil
		}
	})
	r.control = &process{}
	r.log.Gateway = inForce(r.Policies)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	r.becomes(lab.Answered, us, en)

	gateway := func() server.NodeStatus {
		nodes := w.Status().Nodes
		require.Len(t, nodes, 1)
		return nodes[0]
	}
	r.write("german.yaml", allow("german", us, de))
	require.Eventually(t, func() bool { return gateway().Rejecting }, 10*time.Second, 5*time.Millisecond)
	var nack *server.NACK
	for _, typed := range gateway().Types {
		if typed.NACK != nil {
			nack = typed.NACK
		}
	}
	require.Regexp(t, `^Error adding/updating listener\(s\) policy/[0-9a-f]{3}: .*cluster_specifier`, nack.Message)
	require.Len(t, nack.Causes, 2)
	require.Equal(t, "german.yaml:6:5: it is about de.wikipedia.org", nack.Causes[0].String())
	require.Equal(t, "wikipedia.yaml:5:11: it is about de.wikipedia.org", nack.Causes[1].String())

	// Everything else goes on, edits too; and that does not hide what is wrong.
	r.reaches(us, en)
	r.write("allow.yaml", allow("wikipedia", us, en, es))
	r.becomes(lab.Answered, us, es)
	require.Eventually(t, func() bool { return gateway().Behind == 2 }, 10*time.Second, 5*time.Millisecond)
	require.True(t, gateway().Rejecting)
	require.False(t, gateway().Current)
	require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, de, "/").Outcome)

	require.NoError(t, r.Remove("german.yaml"))
	require.Eventually(t, func() bool { return gateway().Current }, 10*time.Second, 5*time.Millisecond)
	require.Zero(t, gateway().Behind)
}
