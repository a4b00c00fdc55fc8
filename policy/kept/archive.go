//go:build unix

package kept

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/policy/source"
)

// The archive is, in this order: the manifest, the policy files below
// policies/, and the checksum of every byte before its own entry.
const (
	manifestName = "manifest.json"
	filesPrefix  = "policies/"
	checksumName = "sha256"
)

// format is the version of all this. Whoever changes it must know that what an
// older or a newer program kept is then refused.
const format = 1

// manifest says what the archive is.
type manifest struct {
	Format    int       `json:"format"`
	Directory string    `json:"directory"`
	At        time.Time `json:"at"`
	Files     int       `json:"files"`
	Digest    string    `json:"digest"`
}

var errDamaged = errors.New("is damaged: it was cut short or changed since it was written")

// pack writes the archive.
func pack(w io.Writer, p Policy) error {
	m, err := json.MarshalIndent(manifest{
		Format: format, Directory: p.Directory, At: p.At.UTC(), Files: len(p.Tree.Files), Digest: hex.EncodeToString(p.Tree.Digest[:]),
	}, "", "  ")
	if err != nil {
		return err
	}
	sum := sha256.New()
	t := tar.NewWriter(io.MultiWriter(w, sum))
	if err := entry(t, manifestName, append(m, '\n'), p.At); err != nil {
		return err
	}
	for _, f := range p.Tree.Files {
		if err := entry(t, filesPrefix+f.Path, f.Data, p.At); err != nil {
			return err
		}
	}
	// No Close, which would end the archive: the checksum's entry does.
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = w.Write(trailer(sum.Sum(nil)))
	return err
}

func entry(t *tar.Writer, name string, data []byte, at time.Time) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600, ModTime: at.Truncate(time.Second)}
	if err := t.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err := t.Write(data)
	return err
}

// trailer is the end of an archive whose other bytes have the sum.
func trailer(sum []byte) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	_ = entry(t, checksumName, []byte(hex.EncodeToString(sum)+"\n"), time.Unix(0, 0)) // to memory: it cannot fail
	_ = t.Close()
	return b.Bytes()
}

// unpack reads the archive, all or nothing.
func unpack(data []byte) (Policy, error) {
	r := tar.NewReader(bytes.NewReader(data))
	m, err := readManifest(r)
	if err == nil && m.Format != format {
		return Policy{}, fmt.Errorf("has format %d, and this version of sallyport reads %d: another version wrote it", m.Format, format)
	}
	if err != nil || !intact(data) {
		return Policy{}, errDamaged
	}
	files, err := readFiles(r, int64(len(data)))
	if err != nil {
		return Policy{}, fmt.Errorf("cannot be used, although its checksum is right: %w", err)
	}
	tree := source.NewTree(files)
	if len(files) != m.Files || hex.EncodeToString(tree.Digest[:]) != m.Digest {
		return Policy{}, errors.New("cannot be used, although its checksum is right: its files are not those of its manifest")
	}
	return Policy{Directory: m.Directory, At: m.At, Tree: tree}, nil
}

// intact reports whether the archive ends in the checksum of what is before.
func intact(data []byte) bool {
	end := len(trailer(make([]byte, sha256.Size)))
	if len(data) < end {
		return false
	}
	body := data[:len(data)-end]
	sum := sha256.Sum256(body)
	return bytes.Equal(data[len(body):], trailer(sum[:]))
}

func readManifest(r *tar.Reader) (manifest, error) {
	var m manifest
	h, err := r.Next()
	if err != nil {
		return m, err
	}
	if h.Name != manifestName {
		return m, fmt.Errorf("it begins with %q", h.Name)
	}
	return m, json.NewDecoder(r).Decode(&m)
}

// readFiles reads what follows the manifest. No file is larger than the archive.
func readFiles(r *tar.Reader, limit int64) ([]source.File, error) {
	var files []source.File
	seen := make(map[string]bool)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Name == checksumName {
			continue
		}
		path, ok := strings.CutPrefix(h.Name, filesPrefix)
		if !ok || h.Typeflag != tar.TypeReg || !fs.ValidPath(path) || seen[path] || h.Size > limit {
			return nil, fmt.Errorf("%q is no policy file", h.Name)
		}
		seen[path] = true
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, err
		}
		if !utf8.Valid(content) {
			return nil, fmt.Errorf("%q is not UTF-8 text", h.Name)
		}
		files = append(files, source.File{Path: path, Data: content})
	}
}
