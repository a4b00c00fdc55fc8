package envoy

import (
	"fmt"
	"strings"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// adminListener is where Envoy's admin interface listens: IP:PORT on loopback,
// unix:PATH, or nowhere if address is empty. It has no authentication, and who
// reaches it can stop Envoy and read its memory: so never on a network.
func adminListener(address string) (*bootstrap.Admin, error) {
	if address == "" {
		return nil, nil
	}
	admin := &bootstrap.Admin{IgnoreGlobalConnLimit: true} // or an overload would hide itself
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("admin address %q has no path", address)
		}
		admin.Address = &core.Address{Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: path, Mode: 0o600}}}
		return admin, nil
	}
	hp, err := parseHostPort("admin address", address)
	if err != nil {
		return nil, err
	}
	if !hp.ip.IsLoopback() {
		return nil, fmt.Errorf("admin address %q is not a loopback address: the admin interface has no authentication; "+
			"use 127.0.0.1:PORT or unix:PATH", address)
	}
	admin.Address = hp.proto()
	return admin, nil
}
