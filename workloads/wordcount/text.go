package wordcount

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// maxLine bounds a record: longer lines are cut between words.
const maxLine = 8 << 10

// text is the lines of a file or folder, blank ones left out.
type text struct {
	bytes []byte
	ends  []int32 // of each line; a line begins where the one before ends
}

func (t *text) lines() int { return len(t.ends) }

func (t *text) line(i int) []byte {
	from := int32(0)
	if i > 0 {
		from = t.ends[i-1]
	}
	return t.bytes[from:t.ends[i]]
}

// add takes the lines of one file until limit bytes are held.
func (t *text) add(b []byte, limit int) {
	for len(b) > 0 && len(t.bytes) < limit {
		line := b
		if n := bytes.IndexByte(b, '\n'); n >= 0 {
			line, b = b[:n], b[n+1:]
		} else {
			b = nil
		}
		for line = bytes.TrimSpace(line); len(line) > 0; {
			part := line
			if len(part) > maxLine {
				part = part[:maxLine]
				for n := maxLine; n > 0; n-- {
					if lower[part[n-1]] == 0 { // between words
						part = part[:n]
						break
					}
				}
			}
			line = line[len(part):]
			t.bytes = append(t.bytes, part...)
			t.ends = append(t.ends, int32(len(t.bytes)))
		}
	}
}

// load reads a file, or the text files of a folder in the order of their
// paths. Files with a NUL byte are no text and are left out.
func load(path string, limit int) (*text, error) {
	if path == "" {
		var err error
		if path, err = toolchain(); err != nil {
			return nil, err
		}
	}
	t := &text{}
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if len(t.bytes) >= limit {
			return fs.SkipAll
		}
		if !d.Type().IsRegular() && name != path || d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(name)
		if err == nil && bytes.IndexByte(b, 0) < 0 {
			t.add(b, limit)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	if t.lines() == 0 {
		return nil, fmt.Errorf("path: %s holds no line of text", path)
	}
	return t, nil
}

// toolchain returns the source tree of the Go toolchain, which is on every
// machine that can build this program. The binary itself does not know where:
// runtime.GOROOT is empty in a trimmed build.
func toolchain() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err == nil && root == "" {
		err = errors.New("it printed nothing")
	}
	if err != nil {
		return "", fmt.Errorf("path: name a file or folder of text; the default is the Go toolchain's sources, but go env GOROOT failed: %w", err)
	}
	return filepath.Join(root, "src"), nil
}
