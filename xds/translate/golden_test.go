package translate_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"sallyport/policy"
	"sallyport/xds/translate"
)

var update = flag.Bool("update", false, "rewrite testdata")

// Every directory in testdata has a policy directory, and the resources that
// come of it, a file a type. (That Envoy takes them is tested in test/differential.)
func TestGolden(t *testing.T) {
	cases, err := os.ReadDir("testdata")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			dir := filepath.Join("testdata", c.Name())
			res := translated(t, filepath.Join(dir, "policies"))
			want := map[string][]byte{}
			for name, list := range map[string][]translate.Resource{
				"listeners.yaml": res.Listeners, "clusters.yaml": res.Clusters, "secrets.yaml": res.Secrets, "routes.yaml": res.Routes,
			} {
				if len(list) > 0 {
					want[name] = printed(t, list)
				}
			}
			if *update {
				rewrite(t, dir, want)
			}
			got := map[string][]byte{}
			for _, name := range files(t, dir) {
				content, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				got[name] = content
			}
			if diff := cmp.Diff(got, want, cmp.Transformer("text", func(b []byte) string { return string(b) })); diff != "" {
				t.Errorf("the resources are not what testdata says (-testdata +now); if they are right, run this with -update:\n%s", diff)
			}
		})
	}
}

// translated are the resources of the one gateway of a directory.
func translated(t *testing.T, dir string) *translate.Resources {
	t.Helper()
	loaded := (&policy.Loader{}).Load(dir, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	require.NoError(t, loaded.Diagnostics.Err())
	require.Len(t, loaded.Model.Gateways, 1)
	res, err := translate.New().Translate(loaded.Model.Gateways[0])
	require.NoError(t, err)
	return res
}

// files are the expected resources.
func files(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	var out []string
	for _, path := range found {
		if name := filepath.Base(path); name != "policies" {
			out = append(out, name)
		}
	}
	return out
}

func rewrite(t *testing.T, dir string, want map[string][]byte) {
	t.Helper()
	for _, name := range files(t, dir) {
		if want[name] == nil {
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
	}
	for name, content := range want {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
}

// long is from how many bytes on a packed message is printed only once a file.
const long = 700

// printed are resources as YAML, a document each, their fields in the order of
// the proto definitions. A long packed message is printed once, and numbered:
// the DNS caches and guards that all chains share are the better part of the
// bytes.
func printed(t *testing.T, list []translate.Resource) []byte {
	t.Helper()
	var out bytes.Buffer
	numbers := make(map[string]int)
	for _, r := range list {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r.Message)
		require.NoError(t, err)
		var tree yaml.MapSlice
		require.NoError(t, yaml.UnmarshalWithOptions(text, &tree, yaml.UseOrderedMap()))
		content, err := yaml.Marshal(abbreviate(tree, numbers))
		require.NoError(t, err)
		fmt.Fprintf(&out, "---\n%s", content)
	}
	return out.Bytes()
}

func abbreviate(v any, numbers map[string]int) any {
	switch v := v.(type) {
	case yaml.MapSlice:
		if short, ok := addressRange(v); ok {
			return short
		}
		text := fmt.Sprint(v)
		if len(v) > 0 && v[0].Key == "@type" && len(text) > long {
			if n, ok := numbers[text]; ok {
				return yaml.MapSlice{v[0], {Key: "the same as number", Value: n}}
			}
			numbers[text] = len(numbers) + 1
			v = append(yaml.MapSlice{v[0], {Key: "this is number", Value: numbers[text]}}, v[1:]...)
		}
		for i := range v {
			v[i].Value = abbreviate(v[i].Value, numbers)
		}
		return v
	case []any:
		for i := range v {
			v[i] = abbreviate(v[i], numbers)
		}
		return v
	default:
		return v
	}
}

// addressRange prints ranges of addresses, and what matches them, in a line.
func addressRange(v yaml.MapSlice) (any, bool) {
	if len(v) != 2 {
		return nil, false
	}
	if v[0].Key == "address_prefix" && v[1].Key == "prefix_len" {
		return fmt.Sprintf("%v/%v", v[0].Value, v[1].Value), true
	}
	config, ok := v[1].Value.(yaml.MapSlice)
	if !ok || len(config) != 2 || config[1].Key != "upstream_ip" {
		return nil, false
	}
	inner, ok := addressRange(config[1].Value.(yaml.MapSlice))
	return yaml.MapSlice{{Key: v[0].Value, Value: inner}}, ok
}
