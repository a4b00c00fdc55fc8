package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// assets are the files of the pages. Each has an address with a digest of its content,
// so that browsers may keep it for ever.
type assets struct {
	addresses map[string]string // by name
	files     map[string]asset  // by address
}

type asset struct {
	name string
	data []byte
}

func readAssets() (*assets, error) {
	a := &assets{addresses: make(map[string]string), files: make(map[string]asset)}
	entries, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(assetFiles, "assets/"+e.Name())
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256(data)
		address := AssetsPath + base64.RawURLEncoding.EncodeToString(digest[:9]) + "/" + e.Name()
		a.addresses[e.Name()], a.files[address] = address, asset{e.Name(), data}
	}
	return a, nil
}

// address is where a file is served.
func (a *assets) address(name string) (string, error) {
	if address, ok := a.addresses[name]; ok {
		return address, nil
	}
	return "", fmt.Errorf("there is no asset %q", name)
}

// ServeHTTP serves the files.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := a.files[r.URL.Path]
	if !ok || strings.Contains(r.URL.RawPath, "%") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.data))
}
