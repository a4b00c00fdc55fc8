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
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/policy/source"
)

// The archive is, in this order: the manifest, the policy files below policies/,
// those that groups had which are behind below behind/DIGEST/, and the checksum of
// every byte before its own entry.
const (
	manifestName = "manifest.json"
	filesPrefix  = "policies/"
	behindPrefix = "behind/"
	checksumName = "sha256"
)

// format is the version of all this. Whoever changes it must know that what an
// older or a newer program kept is then refused.
const format = 1

// formatBehind is the version of an archive with groups that are behind.
const formatBehind = 2

// manifest says what the archive is.
type manifest struct {
	Format    int       `json:"format"`
	Directory string    `json:"directory"`
	At        time.Time `json:"at"`
	Files     int       `json:"files"`
	Digest    string    `json:"digest"`
	// Behind has null for a group of which it is not known what it had.
	Behind map[string]*stage `json:"behind,omitempty"`
}

// stage says what a group that is behind had.
type stage struct {
	At     time.Time `json:"at"`
	Files  int       `json:"files"`
	Digest string    `json:"digest"`
}

var errDamaged = errors.New("is damaged: it was cut short or changed since it was written")

// pack writes the archive.
func pack(w io.Writer, p Policy) error {
	says := manifest{
		Format: format, Directory: p.Directory, At: p.At.UTC(), Files: len(p.Tree.Files), Digest: hex.EncodeToString(p.Tree.Digest[:]),
	}
	behind := make(map[string]source.Tree)
	for group, of := range p.Behind {
		says.Format = formatBehind
		if says.Behind == nil {
			says.Behind = make(map[string]*stage)
		}
		if says.Behind[group] = nil; of != nil {
			digest := hex.EncodeToString(of.Tree.Digest[:])
			says.Behind[group] = &stage{At: of.At.UTC(), Files: len(of.Tree.Files), Digest: digest}
			behind[digest] = of.Tree
		}
	}
	m, err := json.MarshalIndent(says, "", "  ")
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
	for _, digest := range slices.Sorted(maps.Keys(behind)) {
		for _, f := range behind[digest].Files {
			if err := entry(t, behindPrefix+digest+"/"+f.Path, f.Data, p.At); err != nil {
				return err
			}
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
	if err == nil && m.Format != format && m.Format != formatBehind {
		return Policy{}, fmt.Errorf("has format %d, and this version of sallyport reads %d and %d: another version wrote it", m.Format, format, formatBehind)
	}
	if err != nil || !intact(data) {
		return Policy{}, errDamaged
	}
	files, err := readFiles(r, int64(len(data)))
	if err != nil {
		return Policy{}, fmt.Errorf("cannot be used, although its checksum is right: %w", err)
	}
	tree, err := files.tree(filesPrefix, m.Files, m.Digest)
	if err != nil {
		return Policy{}, err
	}
	p := Policy{Directory: m.Directory, At: m.At, Tree: tree}
	for group, of := range m.Behind {
		if p.Behind == nil {
			p.Behind = make(map[string]*Stage)
		}
		p.Behind[group] = nil
		if of != nil {
			tree, err := files.tree(behindPrefix+of.Digest+"/", of.Files, of.Digest)
			if err != nil {
				return Policy{}, err
			}
			p.Behind[group] = &Stage{At: of.At, Tree: tree}
		}
	}
	return p, nil
}

// contents are files of an archive by the folder that they are in.
type contents map[string][]source.File

// tree returns the files of a folder, which must be what the manifest says.
func (c contents) tree(folder string, count int, digest string) (source.Tree, error) {
	tree := source.NewTree(c[folder])
	if len(tree.Files) != count || hex.EncodeToString(tree.Digest[:]) != digest {
		return source.Tree{}, errors.New("cannot be used, although its checksum is right: its files are not those of its manifest")
	}
	return tree, nil
}

// folderOf returns the folder that a file of the archive is in, and its path there.
func folderOf(name string) (folder, path string, ok bool) {
	if path, ok := strings.CutPrefix(name, filesPrefix); ok {
		return filesPrefix, path, true
	}
	rest, ok := strings.CutPrefix(name, behindPrefix)
	if !ok {
		return "", "", false
	}
	digest, path, ok := strings.Cut(rest, "/")
	return behindPrefix + digest + "/", path, ok
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
func readFiles(r *tar.Reader, limit int64) (contents, error) {
	files := make(contents)
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
		folder, path, ok := folderOf(h.Name)
		if !ok || h.Typeflag != tar.TypeReg || !fs.ValidPath(path) || seen[h.Name] || h.Size > limit {
			return nil, fmt.Errorf("%q is no policy file", h.Name)
		}
		seen[h.Name] = true
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, err
		}
		if !utf8.Valid(content) {
			return nil, fmt.Errorf("%q is not UTF-8 text", h.Name)
		}
		files[folder] = append(files[folder], source.File{Path: path, Data: content})
	}
}
