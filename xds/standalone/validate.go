package standalone

import (
	"context"
	"fmt"
	"sort"

	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"sallyport/xds/translate"
)

// Check asks a real Envoy about a bootstrap. What Envoy says against it is the
// message, empty if nothing; an error means that it could not be asked.
type Check func(ctx context.Context, bootstrap []byte) (message string, err error)

// ResourceError is a resource that Envoy does not take.
type ResourceError struct {
	// Kind is listener, cluster or route configuration, and Name the resource's;
	// both are empty if Envoy takes each of them alone.
	Kind, Name string
	// Message is what Envoy says.
	Message string
}

// Error names the resource and says what Envoy says.
func (e ResourceError) Error() string {
	if e.Name == "" {
		return e.Message
	}
	return fmt.Sprintf("%s %q: %s", e.Kind, e.Name, e.Message)
}

// Validate has Envoy check the resources of a gateway, all at once. If it
// refuses them, the first resource that it does not take is looked for, as
// Envoy seldom says which it is, and the error is a ResourceError.
func Validate(ctx context.Context, res *translate.Resources, c Certificates, check Check) error {
	v := validation{res: res, certificates: c, check: check}
	message, err := v.ask(ctx, len(res.Clusters), len(res.Listeners))
	if err != nil || message == "" {
		return err
	}
	return v.culprit(ctx, message)
}

type validation struct {
	res          *translate.Resources
	certificates Certificates
	check        Check
}

// ask asks about the first so many clusters and listeners.
func (v *validation) ask(ctx context.Context, clusters, listeners int) (string, error) {
	some := *v.res
	some.Clusters, some.Listeners = v.res.Clusters[:clusters], v.res.Listeners[:listeners]
	bootstrap, err := Bootstrap(&some, v.certificates)
	if err != nil {
		return "", err
	}
	return v.check(ctx, bootstrap)
}

func (v *validation) culprit(ctx context.Context, message string) error {
	n, said, err := first(len(v.res.Clusters), func(n int) (string, error) { return v.ask(ctx, n, 0) })
	if err != nil {
		return err
	}
	if said != "" {
		return ResourceError{"cluster", v.res.Clusters[n-1].Name, said}
	}
	all := len(v.res.Clusters)
	n, said, err = first(len(v.res.Listeners), func(n int) (string, error) { return v.ask(ctx, all, n) })
	if err != nil {
		return err
	}
	if said == "" {
		return ResourceError{Message: message}
	}
	return v.listenerOrRoutes(ctx, n, said)
}

// listenerOrRoutes tells whether it is the n-th listener that Envoy does not take,
// or the routes that belong to it.
func (v *validation) listenerOrRoutes(ctx context.Context, n int, said string) error {
	l := v.res.Listeners[n-1]
	at, err := usedRoutes(l.Message.(*listeners.Listener), v.res.Routes)
	if err != nil || at < 0 {
		return orDefault(err, ResourceError{"listener", l.Name, said})
	}
	without := validation{res: &translate.Resources{}, certificates: v.certificates, check: v.check}
	*without.res = *v.res
	without.res.Routes = append([]translate.Resource(nil), v.res.Routes...)
	empty := proto.Clone(v.res.Routes[at].Message).(*routes.RouteConfiguration)
	empty.VirtualHosts = nil
	without.res.Routes[at].Message = empty
	message, err := without.ask(ctx, len(v.res.Clusters), n)
	if err != nil || message != "" {
		return orDefault(err, ResourceError{"listener", l.Name, said})
	}
	return ResourceError{"route configuration", v.res.Routes[at].Name, said}
}

func orDefault(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// first finds the smallest number up to most that something is said against. If
// it is said against one, it is against all above.
func first(most int, ask func(n int) (string, error)) (int, string, error) {
	message, err := ask(most)
	if err != nil || message == "" {
		return 0, "", err
	}
	n := sort.Search(most, func(n int) bool {
		if err != nil {
			return true
		}
		said, failed := ask(n)
		if failed != nil {
			err = failed
		} else if said != "" {
			message = said // of the smallest number so far
		}
		return said != ""
	})
	return n, message, err
}
