package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Durability says what a file that was written survives.
type Durability string

// The two durabilities.
const (
	DurableProcess Durability = "process" // a kill of the process
	DurableMachine Durability = "machine" // a crash of the machine: file and folder are synced
)

// Folder keeps snapshots and logs: named files that appear whole or not at all.
// A file is written to a temporary name, synced as the durability asks, and
// renamed; its checksum tells a torn one apart.
type Folder struct {
	dir        string
	durability Durability
	write      func(*os.File, []byte) (int, error) // nil for the file's own
}

// ErrTorn means that a file's checksum does not fit its contents.
var ErrTorn = errors.New("file is torn: its checksum does not match")

// ErrExists means that a file to be created exclusively was there: another
// process runs the same job.
var ErrExists = errors.New("file exists: another process runs this job: stop one of the two")

// ErrSuperseded means that a newer start of the same job has taken over: nothing
// may be done any more in the name of this one.
var ErrSuperseded = errors.New("was superseded")

// trailer is the checksum's length: CRC-32C and the length of what it covers.
const trailer = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenFolder opens a folder, making it when it is not there.
func OpenFolder(dir string, d Durability) (*Folder, error) {
	if d == "" {
		d = DurableMachine
	}
	if d != DurableProcess && d != DurableMachine {
		return nil, fmt.Errorf("durability %q: allowed are process, machine", d)
	}
	f := &Folder{dir: dir, durability: d}
	err := f.make(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		err = fmt.Errorf("%w: name a folder, or one that can be made", err)
	}
	return f, err
}

// make makes a folder and those above it that are not there. Each is durable
// when the one above has been synced.
func (f *Folder) make(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return os.MkdirAll(dir, 0o755) // an error when it is a file
	}
	if above := filepath.Dir(dir); above != dir {
		if err := f.make(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.sync(filepath.Dir(dir))
}

// Sub opens a folder inside.
func (f *Folder) Sub(name string) (*Folder, error) {
	sub, err := OpenFolder(filepath.Join(f.dir, name), f.durability)
	if err == nil {
		sub.write = f.write
	}
	return sub, err
}

// Through returns the folder with another way to write to its files, and to those
// of folders that are opened inside: tests show by it what a full disk does.
func (f *Folder) Through(write func(*os.File, []byte) (int, error)) *Folder {
	return &Folder{f.dir, f.durability, write}
}

// WriteTo writes to a file that was opened in the folder. Where that fails for want
// of room, or of the right to, the error says what to do about it.
func (f *Folder) WriteTo(file *os.File, b []byte) error {
	write := f.write
	if write == nil {
		write = (*os.File).Write
	}
	_, err := write(file, b)
	return f.room(err)
}

func (f *Folder) room(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: make room in %s and start the job again", err, f.dir)
	}
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the folder %s is not there: bring it back and start the job again", err, f.dir)
	}
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: make %s writable and start the job again", err, f.dir)
	}
	return err
}

// Path returns where the folder is.
func (f *Folder) Path() string { return f.dir }

// Durability returns what the folder's files survive.
func (f *Folder) Durability() Durability { return f.durability }

// Write writes a file, replacing one of that name.
func (f *Folder) Write(name string, data []byte) error {
	tmp, err := f.writeTemp(name, data)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(f.dir, name)); err != nil {
		os.Remove(tmp)
		return err
	}
	return f.syncDir()
}

// Create writes a file that must not exist yet; ErrExists otherwise. Of several
// processes that try, one succeeds.
func (f *Folder) Create(name string, data []byte) error {
	tmp, err := f.writeTemp(name, data)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	// A link fails where a rename would replace.
	if err := os.Link(tmp, filepath.Join(f.dir, name)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", name, ErrExists)
		}
		return err
	}
	return f.syncDir()
}

func (f *Folder) writeTemp(name string, data []byte) (path string, err error) {
	file, err := os.CreateTemp(f.dir, "."+name+".tmp-*")
	if err != nil {
		return "", f.room(err)
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	var tail [trailer]byte
	binary.LittleEndian.PutUint32(tail[:], crc32.Checksum(data, castagnoli))
	binary.LittleEndian.PutUint64(tail[4:], uint64(len(data)))
	if err = f.WriteTo(file, data); err != nil {
		return "", err
	}
	if err = f.WriteTo(file, tail[:]); err != nil {
		return "", err
	}
	if f.durability == DurableMachine {
		if err = f.room(file.Sync()); err != nil {
			return "", err
		}
	}
	return file.Name(), f.room(file.Close())
}

func (f *Folder) syncDir() error { return f.sync(f.dir) }

func (f *Folder) sync(dir string) error {
	if f.durability != DurableMachine {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Read returns a file's contents. A torn file is ErrTorn, a missing one
// fs.ErrNotExist.
func (f *Folder) Read(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	n := len(b) - trailer
	if n < 0 || binary.LittleEndian.Uint64(b[n+4:]) != uint64(n) ||
		binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, name), ErrTorn)
	}
	return b[:n], nil
}

// File is a file that was opened to be read piece by piece.
type File struct {
	*io.SectionReader // its contents
	file              *os.File
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Open opens a file after reading all of it once for its checksum, in pieces;
// errors are as with Read.
func (f *Folder) Open(name string) (_ *File, err error) {
	path := filepath.Join(f.dir, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	n := info.Size() - trailer
	sum, tail := crc32.New(castagnoli), make([]byte, trailer)
	if n >= 0 {
		if _, err := io.CopyBuffer(sum, io.NewSectionReader(file, 0, n), make([]byte, 256<<10)); err != nil {
			return nil, err
		}
		if _, err := file.ReadAt(tail, n); err != nil {
			return nil, err
		}
	}
	if n < 0 || binary.LittleEndian.Uint64(tail[4:]) != uint64(n) || binary.LittleEndian.Uint32(tail) != sum.Sum32() {
		return nil, fmt.Errorf("%s: %w", path, ErrTorn)
	}
	return &File{io.NewSectionReader(file, 0, n), file}, nil
}

// Link gives files of other folders names in this one, all durable when it
// returns; files maps a name here to a path. What already has its name is left.
// The files must be durable and never be changed again; they carry no checksum,
// so Read is not for them. Where there can be no hard link, it is a copy.
func (f *Folder) Link(files map[string]string) error {
	for name, path := range files {
		err := os.Link(path, filepath.Join(f.dir, name))
		if err == nil || errors.Is(err, fs.ErrExist) {
			continue
		}
		if !errors.Is(err, syscall.EXDEV) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EPERM) {
			return err
		}
		if err := f.copy(name, path); err != nil {
			return err
		}
	}
	return f.syncDir()
}

func (f *Folder) copy(name, path string) (err error) {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp, err := os.CreateTemp(f.dir, "."+name+".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			os.Remove(tmp.Name())
		}
	}()
	if _, err = io.Copy(tmp, src); err != nil {
		return err
	}
	if f.durability == DurableMachine {
		if err = tmp.Sync(); err != nil {
			return err
		}
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(f.dir, name))
}

// Stat describes a file, which may be one of a folder inside.
func (f *Folder) Stat(name string) (fs.FileInfo, error) { return os.Stat(filepath.Join(f.dir, name)) }

// Remove deletes a file; one that is not there is fine. After a crash of the
// machine it may be back, until a file has been written in the folder.
func (f *Folder) Remove(name string) error {
	if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
		return err
	}
	return nil
}

// List returns the names of the folder's files with the prefix, sorted,
// temporary ones left out.
func (f *Folder) List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// Numbered returns the numbers n of the files named prefix+n, ascending.
func (f *Folder) Numbered(prefix string) ([]int64, error) {
	names, err := f.List(prefix)
	if err != nil {
		return nil, err
	}
	var ns []int64
	for _, name := range names {
		if n, err := strconv.ParseInt(strings.TrimPrefix(name, prefix), 10, 64); err == nil {
			ns = append(ns, n)
		}
	}
	sort.Slice(ns, func(i, j int) bool { return ns[i] < ns[j] })
	return ns, nil
}

// Attempt is a start of a job. Of the processes that run one job in one folder,
// only the newest may write metadata or commit.
type Attempt struct {
	folder *Folder
	Number int
}

const attemptPrefix = "attempt-"

// NextAttempt creates attempt file n+1, which supersedes all earlier ones.
func NextAttempt(f *Folder, note string) (*Attempt, error) {
	for {
		ns, err := f.Numbered(attemptPrefix)
		if err != nil {
			return nil, err
		}
		next := int64(1)
		if len(ns) > 0 {
			next = ns[len(ns)-1] + 1
		}
		err = f.Create(attemptPrefix+strconv.FormatInt(next, 10), []byte(note))
		if errors.Is(err, ErrExists) {
			continue // another start was faster: take the number behind it
		}
		if err != nil {
			return nil, err
		}
		a := &Attempt{folder: f, Number: int(next)}
		return a, a.clean()
	}
}

// JoinAttempt returns an attempt that another process has begun, for a process
// that belongs to it.
func JoinAttempt(f *Folder, number int) *Attempt { return &Attempt{folder: f, Number: number} }

// clean deletes what attempts that were killed in the middle of a write have
// left, in the folders below too. Younger files are those of newer attempts, and
// files of starts that are still on their way to a number are let be.
func (a *Attempt) clean() error {
	own, err := os.Lstat(filepath.Join(a.folder.dir, attemptPrefix+strconv.Itoa(a.Number)))
	if err != nil {
		return err
	}
	return filepath.WalkDir(a.folder.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		name := filepath.Base(path)
		if err != nil || d.IsDir() || !strings.HasPrefix(name, ".") || !strings.Contains(name, ".tmp-") || strings.HasPrefix(name, "."+attemptPrefix) {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || info.ModTime().After(own.ModTime()) {
			return err
		}
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// Check returns an error that names the newer attempt when this one has been
// superseded. A process calls it before it writes metadata and before it
// commits: one that was stopped for a minute and wakes up must do no harm.
func (a *Attempt) Check() error {
	// The common case is one look at a name that is not there.
	next := attemptPrefix + strconv.Itoa(a.Number+1)
	if _, err := os.Lstat(filepath.Join(a.folder.dir, next)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	ns, err := a.folder.Numbered(attemptPrefix)
	if err != nil {
		return err
	}
	return fmt.Errorf("attempt %d of this job %w by attempt %d: stopping", a.Number, ErrSuperseded, ns[len(ns)-1])
}
