package syntax

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOrders(t *testing.T) {
	orders := Orders()
	for _, k := range newLanguage().kinds {
		require.Equal(t, []string{"apiVersion", "kind", "metadata", "spec"}, orders[k.name].Fields, k.name)
	}
	spec := orders["EgressPolicy"].Of["spec"]
	require.Equal(t, []string{"owner", "reason", "expires", "mode", "rules", "tests"}, spec.Fields)
	require.Equal(t, []string{"action", "from", "to"}, spec.Of["rules"].Fields)
	require.Equal(t, []string{"hosts", "except"}, spec.Of["rules"].Of["to"].Fields)
	require.Equal(t, []string{"principal", "serviceAccount", "namespace"}, spec.Of["tests"].Of["from"].Fields)
	require.Equal(t, []string{"name", "namespace"}, orders["Destination"].Of["metadata"].Fields)

	schema, err := Schema()
	require.NoError(t, err)
	require.NotContains(t, string(schema), fieldOrder)
}
