package lsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"streamduel/codec"
)

// manifest lists the files of a database at one moment. In a snapshot it is
//
//	version u8, number of files, then each
//	  name (string), its name in the shared folder (string), size,
//	  contents if it has no such name (size bytes)
type manifest []file

type file struct {
	name, shared string
	size         int64
	content      []byte
}

const manifestVersion = 1

func (m manifest) append(dst []byte) []byte {
	dst = append(dst, manifestVersion)
	dst = binary.AppendUvarint(dst, uint64(len(m)))
	for _, f := range m {
		dst = codec.String{}.Append(dst, f.name)
		dst = codec.String{}.Append(dst, f.shared)
		dst = binary.AppendUvarint(dst, uint64(f.size))
		dst = append(dst, f.content...)
	}
	return dst
}

func (m manifest) size() (n int64) {
	for _, f := range m {
		n += f.size
	}
	return n
}

var errManifest = errors.New("lsm: the list of files makes no sense")

func parseManifest(b []byte) (manifest, error) {
	if len(b) == 0 {
		return nil, errManifest
	}
	if b[0] != manifestVersion {
		return nil, fmt.Errorf("lsm: the list of files has version %d, this program reads %d", b[0], manifestVersion)
	}
	b = b[1:]
	count, n := binary.Uvarint(b)
	if n <= 0 || count > uint64(len(b)) {
		return nil, errManifest
	}
	b = b[n:]
	m := make(manifest, 0, count)
	for range count {
		var f file
		for _, s := range []*string{&f.name, &f.shared} {
			v, n, err := codec.String{}.Decode(b)
			if err != nil {
				return nil, errManifest
			}
			*s, b = v, b[n:]
			// A name is never a way out of its folder.
			if strings.ContainsAny(v, "/\\") || strings.HasPrefix(v, ".") {
				return nil, errManifest
			}
		}
		size, n := binary.Uvarint(b)
		if n <= 0 || f.name == "" || size > 1<<60 {
			return nil, errManifest
		}
		f.size, b = int64(size), b[n:]
		if f.shared == "" {
			if size > uint64(len(b)) {
				return nil, errManifest
			}
			f.content, b = b[:size], b[size:]
		}
		m = append(m, f)
	}
	if len(b) > 0 {
		return nil, errManifest
	}
	return m, nil
}

// materialise makes the files in a new folder, those in the shared folder by
// link. It does not outlive the process: nothing is synced.
func (b *Backend) materialise(m manifest, dir string) error {
	if err := b.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	links := map[string]string{}
	for _, f := range m {
		if f.shared == "" {
			if err := writeFile(b.fs, filepath.Join(dir, f.name), f.content); err != nil {
				return err
			}
			continue
		}
		if err := b.whole(f.shared, f.size); err != nil {
			return err
		}
		links[f.name] = filepath.Join(b.cfg.Shared.Path(), f.shared)
	}
	return link(b.fs, dir, links)
}
