package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	admin "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// Admin asks a running Envoy through its admin interface.
type Admin struct {
	client *http.Client
}

// NewAdmin returns a client for the admin interface at an address as in
// GatewayOptions.Admin: IP:PORT or unix:PATH.
func NewAdmin(address string) *Admin {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	dialer := &net.Dialer{}
	return &Admin{client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		MaxIdleConns:    2,
		IdleConnTimeout: time.Minute,
	}}}
}

// Close closes idle connections.
func (a *Admin) Close() { a.client.CloseIdleConnections() }

// Get fetches a path with its query, for example "/config_dump?mask=…", and
// returns the body. A status other than 200 is an error that has the body.
func (a *Admin) Get(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodGet, path)
}

// Post sends an empty POST, as "/logging?level=debug" and the like need.
func (a *Admin) Post(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodPost, path)
}

func (a *Admin) do(ctx context.Context, method, path string) (body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %s %s: %w", method, path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("envoy admin: %s %s: %s: %s", method, path, response.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Ready returns nil once Envoy is live: initialized, its first configuration
// in force, and not shutting down.
func (a *Admin) Ready(ctx context.Context) error {
	_, err := a.Get(ctx, "/ready")
	return err
}

// Listeners returns where Envoy listens, by the name of the listener, so that
// port 0 can be asked for and found out. Internal listeners have the zero
// AddrPort.
func (a *Admin) Listeners(ctx context.Context) (map[string]netip.AddrPort, error) {
	body, err := a.Get(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	var list admin.Listeners
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("envoy admin: /listeners: %w", err)
	}
	addresses := make(map[string]netip.AddrPort, len(list.GetListenerStatuses()))
	for _, status := range list.GetListenerStatuses() {
		var address netip.AddrPort
		if socket := status.GetLocalAddress().GetSocketAddress(); socket != nil {
			ip, err := netip.ParseAddr(socket.GetAddress())
			if err != nil {
				return nil, fmt.Errorf("envoy admin: /listeners: %w", err)
			}
			address = netip.AddrPortFrom(ip, uint16(socket.GetPortValue()))
		}
		addresses[status.GetName()] = address
	}
	return addresses, nil
}

// Stats returns the counters and gauges whose names match filter, a regular
// expression; empty is all of them.
func (a *Admin) Stats(ctx context.Context, filter string) (map[string]uint64, error) {
	body, err := a.Get(ctx, "/stats?type=All&filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	stats := map[string]uint64{}
	for line := range strings.Lines(string(body)) {
		// A name may have colons in it, its value has none; histograms and
		// text readouts have values that are not numbers.
		at := strings.LastIndex(line, ": ")
		if at < 0 {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSpace(line[at+2:]), 10, 64); err == nil {
			stats[line[:at]] = n
		}
	}
	return stats, nil
}

// Clusters returns the state of every cluster and of its hosts.
func (a *Admin) Clusters(ctx context.Context) (*admin.Clusters, error) {
	body, err := a.Get(ctx, "/clusters?format=json")
	if err != nil {
		return nil, err
	}
	clusters := &admin.Clusters{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, clusters); err != nil {
		return nil, fmt.Errorf("envoy admin: /clusters: %w", err)
	}
	return clusters, nil
}

// ConfigDump returns the configuration in force as Envoy prints it, JSON. With
// resource, for example "dynamic_listeners", it has only that list.
func (a *Admin) ConfigDump(ctx context.Context, resource string) (json.RawMessage, error) {
	path := "/config_dump"
	if resource != "" {
		path += "?resource=" + url.QueryEscape(resource)
	}
	return a.Get(ctx, path)
}
