package istio_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"sallyport/pkg/diag"
	"sallyport/policy/istio"
)

// world is a way through the gateway in which every field has a part.
const world = `
ServiceEntry:
  metadata: {name: a, namespace: default}
  spec:
    hosts: [a.example.com]
    location: MESH_EXTERNAL
    resolution: DNS
    ports:
    - {number: 443, name: https, protocol: HTTPS}
    - {number: 80, name: http, protocol: HTTP}
other:
  kind: ServiceEntry
  metadata: {name: b, namespace: default}
  spec:
    hosts: [b.example.com]
    resolution: DNS
    ports:
    - {number: 443, name: tls, protocol: TLS}
    - {number: 8443, name: tcp, protocol: TCP}
Gateway:
  metadata: {name: egress, namespace: default}
  spec:
    selector: {istio: egressgateway}
    servers:
    - {port: {number: 443, name: tls, protocol: TLS}, hosts: [a.example.com], tls: {mode: PASSTHROUGH}}
    - {port: {number: 80, name: http, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: ISTIO_MUTUAL}}
    - {port: {number: 9443, name: tcp, protocol: TLS}, hosts: [a.example.com], tls: {mode: ISTIO_MUTUAL}}
VirtualService:
  metadata: {name: v, namespace: default}
  spec:
    hosts: [a.example.com]
    gateways: [mesh, egress]
    tls:
    - match: [{gateways: [mesh], port: 443, sniHosts: [a.example.com]}]
      route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, subset: a, port: {number: 443}}}]
    - match: [{gateways: [egress], port: 443, sniHosts: [a.example.com]}]
      route: [{destination: {host: a.example.com, port: {number: 443}}}]
    http:
    - match: [{gateways: [mesh], port: 80}]
      route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, subset: a, port: {number: 80}}}]
    - match: [{gateways: [egress], port: 80}]
      route: [{destination: {host: a.example.com, port: {number: 443}}}]
DestinationRule:
  metadata: {name: a, namespace: default}
  spec:
    host: a.example.com
    trafficPolicy:
      tls: {mode: SIMPLE}
toGateway:
  kind: DestinationRule
  metadata: {name: gateway, namespace: istio-system}
  spec:
    host: istio-egressgateway.istio-system.svc.cluster.local
    trafficPolicy: {tls: {mode: ISTIO_MUTUAL, sni: a.example.com}}
    subsets:
    - name: a
      trafficPolicy:
        portLevelSettings:
        - {port: {number: 443}, tls: {mode: DISABLE}}
`

// result is what comes of the world.
type result struct {
	found []string
	diags diag.List
}

// text is everything, without places.
func (r result) text() string {
	out := slices.Clone(r.found)
	for _, d := range r.diags {
		out = append(out, d.Code+" "+d.Message)
	}
	return regexp.MustCompile(`a\.json:[0-9]+:[0-9]+|at line [0-9]+`).ReplaceAllString(strings.Join(out, "\n"), "HERE")
}

// outcomeOf edits the world.
func outcomeOf(t *testing.T, edits []string) result {
	t.Helper()
	var docs map[string]map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(world), &docs))
	for _, e := range edits {
		name, change, _ := strings.Cut(e, " ")
		if change == "-" {
			delete(docs, name)
			continue
		}
		path, value, found := strings.Cut(change, "=")
		require.True(t, found, e)
		set(t, docs[name], path, value)
	}
	all := []map[string]any{{
		"apiVersion": "sallyport.dev/v1", "kind": "EgressGateway", "metadata": map[string]any{"name": "egress"},
		"spec": map[string]any{"trustDomain": "td", "listeners": []any{map[string]any{"name": "a", "port": 1, "protocol": "HTTP"}}},
	}}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		doc := docs[name]
		doc["apiVersion"] = "networking.istio.io/v1beta1"
		if doc["kind"] == nil {
			doc["kind"] = name
		}
		all = append(all, doc)
	}
	in := decodeJSON(t, all)
	if in.wrong.HasErrors() {
		return result{diags: in.wrong}
	}
	found, diags := istio.Registry(in.docs, in.docs.Gateways[0])
	r := result{diags: append(in.wrong, diags...)}
	for _, f := range found {
		line, _, _ := strings.Cut(show(f), " (")
		r.found = append(r.found, line)
	}
	return r
}

// set puts a value, in JSON, at a path like spec.ports[0].number; no value
// removes.
func set(t *testing.T, doc map[string]any, path, value string) {
	t.Helper()
	var at any = doc
	parts := strings.FieldsFunc(path, func(c rune) bool { return strings.ContainsRune(".[]", c) })
	put := func(any) {}
	for i, part := range parts {
		last := i == len(parts)-1
		switch in := at.(type) {
		case map[string]any:
			if last && value == "" {
				delete(in, part)
				return
			}
			put = func(v any) { in[part] = v }
			at = in[part]
		case []any:
			n, err := strconv.Atoi(part)
			require.NoError(t, err, path)
			require.Less(t, n, len(in), path)
			if last && value == "" {
				// The list is in a field of the mapping above.
				set(t, doc, strings.TrimSuffix(path, fmt.Sprintf("[%d]", n)), toJSON(t, slices.Delete(slices.Clone(in), n, n+1)))
				return
			}
			put = func(v any) { in[n] = v }
			at = in[n]
		default:
			require.Fail(t, "there is no "+path)
		}
	}
	var v any
	require.NoError(t, json.Unmarshal([]byte(value), &v), "%s", value)
	put(v)
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	return string(data)
}
