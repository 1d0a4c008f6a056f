package bench

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shirou/gopsutil/v4/disk"

	"streamduel/scenarios"
)

// buildable has the built-in engines lay out each cell's job, so that a job that
// cannot be built is refused in a moment, and not by every cell's worker.
func (a *app) buildable(cells []*scenarios.Cell) error {
	if a.parts.plan == nil {
		return nil
	}
	said := map[string]bool{}
	var errs []error
	for _, c := range cells {
		if len(c.Engine.Command) > 0 || c.Repetition > 1 {
			continue // a foreign engine's program knows for itself
		}
		if _, err := a.parts.plan(c); err != nil {
			text := strings.Join(strings.Fields(err.Error()), " ")
			if text = c.File.Path + ": engines." + c.Engine.Name + ": " + text; !said[text] {
				said[text] = true
				errs = append(errs, usage("%s", text))
			}
		}
	}
	return errors.Join(errs...)
}

// leastFree is what must be free where results go: the embedded broker keeps
// its data in the run folder and bounds it below this.
const leastFree = 1 << 30

// writable makes the results folder and proves that it can be written to,
// before anything is started. It leaves no file behind.
func writable(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return folderError(out, err)
	}
	probe, err := os.CreateTemp(out, ".writable-*")
	if err != nil {
		return folderError(out, err)
	}
	_, err = probe.Write([]byte("probe"))
	err = errors.Join(err, probe.Sync(), probe.Close(), os.Remove(probe.Name()))
	if err != nil {
		return folderError(out, err)
	}
	if usage, err := disk.Usage(out); err == nil && usage.Total > 0 && usage.Free < leastFree {
		return environment("--out: value %q: only %d MiB are free there, a run needs %d: clean up or choose another folder", out, usage.Free>>20, leastFree>>20)
	}
	return nil
}

func folderError(out string, err error) error {
	reason := err
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		reason = pathError.Err
	}
	remedy := "choose another folder"
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		remedy = "make it writable or choose another folder"
	case errors.Is(err, syscall.ENOSPC):
		remedy = "clean up or choose another folder"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		remedy = "a file is in the way: choose another folder"
	}
	return environment("--out: value %q: results cannot be written there (%v): %s", filepath.Clean(out), reason, remedy)
}
