package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// hostPort is an address to dial: an IP address or a name, and a port.
type hostPort struct {
	host string
	ip   netip.Addr // valid if host is an IP address
	port uint16
}

// parseHostPort reads HOST:PORT, an IPv6 address in brackets. what is what the
// address is of, for the error.
func parseHostPort(what, s string) (hostPort, error) {
	host, portText, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return hostPort{}, fmt.Errorf("%s: %q is not HOST:PORT", what, s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return hostPort{}, fmt.Errorf("%s: %q is not HOST:PORT: the port must be a number up to 65535", what, s)
	}
	hp := hostPort{host: host, port: uint16(port)}
	if ip, err := netip.ParseAddr(host); err == nil {
		hp.ip = ip.Unmap()
		return hp, nil
	}
	if strings.ContainsAny(host, " /*@\x00") {
		return hostPort{}, fmt.Errorf("%s: %q is not a host name or an IP address", what, host)
	}
	return hp, nil
}

// dialable is parseHostPort for an address that is dialled: port 0 is not.
func dialable(what, s string) (hostPort, error) {
	hp, err := parseHostPort(what, s)
	if err == nil && hp.port == 0 {
		return hostPort{}, fmt.Errorf("%s: %q has port 0", what, s)
	}
	return hp, err
}

func (hp hostPort) proto() *core.Address {
	host := hp.host
	if hp.ip.IsValid() {
		host = hp.ip.String()
	}
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address:       host,
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(hp.port)},
	}}}
}

// place gives the cluster this address as its only endpoint. A name is
// resolved again and again, and each of its addresses is an endpoint.
func (hp hostPort) place(c *cluster.Cluster) {
	kind := cluster.Cluster_STRICT_DNS
	if hp.ip.IsValid() {
		kind = cluster.Cluster_STATIC
	} else {
		c.DnsLookupFamily = cluster.Cluster_V4_PREFERRED
	}
	c.ClusterDiscoveryType = &cluster.Cluster_Type{Type: kind}
	c.LoadAssignment = &endpoint.ClusterLoadAssignment{
		ClusterName: c.GetName(),
		Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: hp.proto()}},
		}}}},
	}
}
