package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v4"

	"sallyport/policy"
)

// example puts the files of a directory of examples into force, in place of what
// is there: all of them, or those that only names. Its gateway keeps what it says
// of the policy, and gets the rig's addresses and files.
func (r *rig) example(dir string, only ...string) {
	r.t.Helper()
	kept := make(map[string]bool)
	for path, content := range r.files(dir) {
		if len(only) > 0 && !slices.Contains(only, path) {
			continue
		}
		if strings.Contains(content, "kind: EgressGateway") {
			content = r.placed(content)
		}
		r.put(path, content)
		kept[path] = true
	}
	require.NotEmpty(r.t, kept, "there is nothing in %s", dir)
	for _, path := range only {
		require.True(r.t, kept[path], "there is no %s in %s", path, dir)
	}
	for path := range r.files(r.Policies) {
		if !kept[path] {
			require.NoError(r.t, os.Remove(filepath.Join(r.Policies, path)))
		}
	}
	r.settle()
}

// files are those of a directory, by their paths in it.
func (r *rig) files(dir string) map[string]string {
	r.t.Helper()
	found := make(map[string]string)
	require.NoError(r.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := filepath.Ext(path); ext != ".yaml" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		found[name] = string(content)
		return err
	}))
	return found
}

// put puts a file into place, whole, in whatever folder of the policies.
func (r *rig) put(path, content string) {
	r.t.Helper()
	to := filepath.Join(r.Policies, path)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(to), 0o755))
	temporary := filepath.Join(r.Dir, "being-written")
	require.NoError(r.t, os.WriteFile(temporary, []byte(content), 0o600))
	require.NoError(r.t, os.Rename(temporary, to))
}

// gatewayDocument is the stack's, with the addresses that the test allows.
func (r *rig) gatewayDocument() string {
	document := r.GatewayDocument()
	for _, cidr := range r.allowed {
		document = withAllowed(document, cidr)
	}
	return document
}

// placed is an example's gateway document on the rig.
func (r *rig) placed(document string) string {
	r.t.Helper()
	var out bytes.Buffer
	encode := yaml.NewEncoder(&out)
	decode := yaml.NewDecoder(strings.NewReader(document))
	for {
		var doc map[string]any
		err := decode.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(r.t, err)
		if doc["kind"] == "EgressGateway" {
			var own map[string]any
			require.NoError(r.t, yaml.Unmarshal([]byte(r.gatewayDocument()), &own))
			doc["metadata"] = own["metadata"]
			spec, ok := doc["spec"].(map[string]any)
			require.True(r.t, ok, "a spec")
			for key, value := range own["spec"].(map[string]any) {
				spec[key] = value
			}
		}
		require.NoError(r.t, encode.Encode(doc))
	}
	require.NoError(r.t, encode.Close())
	return out.String()
}

// settle waits until the gateway has what the directory says now. A directory
// that is refused is an error.
func (r *rig) settle() {
	r.t.Helper()
	var loader policy.Loader
	want := loader.Load(r.Policies, time.Now())
	require.NoError(r.t, want.Diagnostics.Err())
	digest := hex.EncodeToString(want.Digest[:])
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		code, body := r.control.get(r.t, "/status")
		require.Equal(r.t, http.StatusOK, code)
		var now struct {
			Digest string
			Errors []any
			Groups []struct{ Nodes, Current int }
		}
		require.NoError(r.t, json.Unmarshal([]byte(body), &now))
		settled := len(now.Groups) > 0 && len(now.Errors) == 0 && now.Digest != "" && strings.HasPrefix(digest, now.Digest)
		for _, g := range now.Groups {
			settled = settled && g.Nodes > 0 && g.Current == g.Nodes
		}
		if settled {
			return
		}
		require.Less(r.t, time.Since(began), 20*time.Second, "the gateway does not get what is in %s: %s", r.Policies, body)
	}
}
