//go:build unix

package kept

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy/source"
)

// What groups had that are behind is kept beside, each once; and an archive without
// any is as it always was.
func TestBehind(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	p := somePolicy(t, someFiles())
	older := source.NewTree([]source.File{{Path: "a/b.yaml", Data: []byte("old")}})
	at := time.Unix(1000, 0).UTC()
	p.Behind = map[string]*Stage{"east": {At: at, Tree: older}, "west": {At: at, Tree: older}, "north": nil}
	require.NoError(t, s.Save(p))
	got, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, p.Tree.Digest, got.Tree.Digest)
	require.Len(t, got.Behind, 3)
	require.Contains(t, got.Behind, "north")
	require.Nil(t, got.Behind["north"])
	for _, group := range []string{"east", "west"} {
		require.Equal(t, older.Digest, got.Behind[group].Tree.Digest)
		require.Equal(t, "old", string(got.Behind[group].Tree.Files[0].Data))
		require.True(t, at.Equal(got.Behind[group].At))
	}
	data, err := os.ReadFile(s.Path())
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(data, []byte("/a/b.yaml\x00")))
	require.Contains(t, string(data), `"format": 2`)
	require.NoError(t, os.WriteFile(s.Path(), bytes.Replace(data, []byte("old"), []byte("new"), 1), 0o600))
	_, err = s.Load()
	require.ErrorContains(t, err, "is damaged")

	p.Behind = nil
	require.NoError(t, s.Save(p))
	data, err = os.ReadFile(s.Path())
	require.NoError(t, err)
	require.Contains(t, string(data), `"format": 1`)
}
