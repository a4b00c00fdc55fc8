// Package reader says what an Envoy that was given certain resources would do
// with a connection. It is an oracle for tests: written from Envoy's
// documentation and source, from nothing that emits the resources, and it knows
// only what it was taught. Any field, filter, matcher or combination that it
// does not know is an error, so that no resource is judged by half of what it
// says.
package reader

import (
	"fmt"
	"regexp"

	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// Gateway is an Envoy with its resources.
type Gateway struct {
	listeners map[string]*listener
	clusters  map[string]*cluster
	routes    map[string]*routeConfig
}

// parser reads resources. What occurs often is read once.
type parser struct {
	regexes map[string]*regexp.Regexp
	filters map[string]any
	caches  map[string]*dnsCache
	used    map[string]bool // clusters
	chosen  map[string]bool // chains of the listener that is being read

	routesUsed    map[string]bool // route configurations
	overridesRead map[string]any
	http          bool // what is being read is about requests
}

// Read reads listeners, clusters, routes and secrets. An error says what the reader
// does not know, or what Envoy would refuse.
func Read(resources ...proto.Message) (*Gateway, error) {
	r := &parser{
		regexes: make(map[string]*regexp.Regexp),
		filters: make(map[string]any),
		caches:  make(map[string]*dnsCache),
		used:    make(map[string]bool),

		routesUsed: make(map[string]bool), overridesRead: make(map[string]any),
	}
	g := &Gateway{listeners: make(map[string]*listener), clusters: make(map[string]*cluster), routes: make(map[string]*routeConfig)}
	secrets := make(map[string]bool)
	for _, m := range resources {
		var err error
		var name string
		switch m := m.(type) {
		case *listeners.Listener:
			if name = m.GetName(); g.listeners[name] != nil {
				err = fmt.Errorf("it is there twice")
				break
			}
			g.listeners[name], err = r.listener(m)
		case *clusters.Cluster:
			if name = m.GetName(); g.clusters[name] != nil {
				err = fmt.Errorf("it is there twice")
				break
			}
			g.clusters[name], err = r.cluster(m)
		case *routes.RouteConfiguration:
			if name = m.GetName(); g.routes[name] != nil {
				err = fmt.Errorf("it is there twice")
				break
			}
			g.routes[name], err = r.routeConfig(m)
		case *tls.Secret:
			name = m.GetName()
			secrets[name], err = true, secret(m)
		default:
			err = fmt.Errorf("the reader does not know resources of this type")
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.ProtoReflect().Descriptor().Name(), name, err)
		}
	}
	return g, g.check(r, secrets)
}

// check looks for what leads nowhere.
func (g *Gateway) check(r *parser, secrets map[string]bool) error {
	for name := range r.used {
		if g.clusters[name] == nil {
			return fmt.Errorf("a tcp_proxy or a route leads to cluster %q, which does not exist", name)
		}
	}
	for name := range r.routesUsed {
		if g.routes[name] == nil {
			return fmt.Errorf("a listener wants the routes %q, which do not exist", name)
		}
	}
	for name, c := range g.clusters {
		if c.tls != nil && !secrets[c.tls.secret] {
			return fmt.Errorf("cluster %s wants the secret %q, which does not exist", name, c.tls.secret)
		}
		if c.listener == "" {
			continue
		}
		if to := g.listeners[c.listener]; to == nil || !to.internal {
			return fmt.Errorf("cluster %s leads to the internal listener %q, which does not exist", name, c.listener)
		}
	}
	for _, l := range g.listeners {
		for _, c := range l.chains {
			if c.tls == nil {
				continue
			}
			for _, name := range c.tls.secrets {
				if !secrets[name] {
					return fmt.Errorf("listener %s wants the secret %q, which does not exist", l.name, name)
				}
			}
		}
	}
	return nil
}
