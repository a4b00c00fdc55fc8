package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/xds/translate"
)

// references are what one resource says about others. They depend on its
// content alone, and are found once per version.
type references struct {
	// clusters, secrets, routes and internal are names, sorted: clusters it sends
	// to, secrets and route configurations it wants over ADS, internal listeners
	// its endpoints lead to.
	clusters []string
	secrets  []string
	routes   []string
	internal []string
	// isInternal says of a listener that endpoints may lead to it.
	isInternal bool
	// problems are references that can be judged without other resources, or
	// not at all.
	problems []string
}

// referencesOf walks everything in the message, packed messages included. What
// it cannot read it reports as a problem: a reference nobody checked must not
// be published.
func referencesOf(m proto.Message) *references {
	w := walker{
		clusters: make(map[string]bool),
		secrets:  make(map[string]bool),
		routes:   make(map[string]bool),
		internal: make(map[string]bool),
		problems: make(map[string]bool),
		packed:   make(map[string]bool),
	}
	w.message(m.ProtoReflect())
	isInternal := false
	if l, ok := m.(*listener.Listener); ok {
		w.chains(l)
		isInternal = l.GetInternalListener() != nil
	}
	return &references{
		isInternal: isInternal,
		clusters:   slices.Sorted(maps.Keys(w.clusters)),
		secrets:    slices.Sorted(maps.Keys(w.secrets)),
		routes:     slices.Sorted(maps.Keys(w.routes)),
		internal:   slices.Sorted(maps.Keys(w.internal)),
		problems:   slices.Sorted(maps.Keys(w.problems)),
	}
}

type walker struct {
	clusters, secrets, routes, internal, problems map[string]bool
	// packed are the packed messages that were walked already: the chains of a
	// listener repeat most of theirs.
	packed map[string]bool
}

func (w *walker) problem(format string, args ...any) { w.problems[fmt.Sprintf(format, args...)] = true }

func (w *walker) message(m protoreflect.Message) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		w.any(v)
		return
	case *tls.SdsSecretConfig:
		if overADS(v.GetSdsConfig()) {
			w.secrets[v.GetName()] = true
		}
	case *hcm.Rds:
		if overADS(v.GetConfigSource()) {
			w.routes[v.GetRouteConfigName()] = true
		}
	case *grpclog.CommonGrpcAccessLogConfig:
		// Records go to the control plane that the gateway's bootstrap knows; nothing
		// else of ours may lead there.
		if v.GetGrpcService().GetEnvoyGrpc().GetClusterName() == translate.ControlPlaneCluster {
			return
		}
	case *core.EnvoyInternalAddress:
		w.internal[v.GetServerListenerName()] = true
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		w.field(m.Descriptor(), fd, v)
		return true
	})
}

func (w *walker) field(in protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() != nil {
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				w.message(v.Message())
				return true
			})
		}
	case fd.Message() != nil && fd.IsList():
		for i := range v.List().Len() {
			w.message(v.List().Get(i).Message())
		}
	case fd.Message() != nil:
		w.message(v.Message())
	case fd.Kind() != protoreflect.StringKind:
	case fd.Name() == "cluster_header":
		w.problem("%s lets header %q choose the cluster, which cannot be checked", in.FullName(), v.String())
	case !namesCluster(in, fd):
	case fd.IsList():
		for i := range v.List().Len() {
			w.clusters[v.List().Get(i).String()] = true
		}
	default:
		w.clusters[v.String()] = true
	}
}

// namesCluster reports whether a field holds the name of a cluster. Envoy's
// messages have it in dozens of places, all but the weighted ones in a field
// called so: cluster, cluster_name, collector_cluster, clusters.
func namesCluster(in protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor) bool {
	switch in.FullName() {
	case "envoy.config.endpoint.v3.ClusterLoadAssignment", // the assignment's own name
		"envoy.config.core.v3.Node":
		return false
	}
	if in.Name() == "ClusterWeight" {
		return fd.Name() == "name"
	}
	name := strings.TrimSuffix(strings.TrimSuffix(string(fd.Name()), "s"), "_name")
	return name == "cluster" || strings.HasSuffix(name, "_cluster")
}

func (w *walker) any(packed *anypb.Any) {
	key := packed.GetTypeUrl() + "\x00" + string(packed.GetValue())
	if w.packed[key] {
		return
	}
	w.packed[key] = true
	m, err := packed.UnmarshalNew()
	if err != nil {
		w.problem("a packed %s cannot be read: %v", packed.GetTypeUrl(), err)
		return
	}
	w.message(m.ProtoReflect())
}

// overADS reports whether a resource is one that this control plane has to
// serve, not a file's or another server's.
func overADS(c *core.ConfigSource) bool {
	switch c.GetConfigSourceSpecifier().(type) {
	case *core.ConfigSource_PathConfigSource, *core.ConfigSource_Path, *core.ConfigSource_ApiConfigSource:
		return false
	default:
		return true
	}
}
