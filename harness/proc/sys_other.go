//go:build !linux

package proc

import (
	"errors"
	"syscall"
	"time"

	"streamduel/clock"
)

// Without a parent-death signal a child ends by the end of its input.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(group int) { _ = syscall.Kill(-group, syscall.SIGKILL) }

// Other systems give no cheap reading of a running process; its rusage is
// taken at its end.
func processCPU(int) (time.Duration, bool) { return 0, false }
func residentBytes(int) int64              { return 0 }
func residentPeak(int) int64               { return 0 }
func groupMembers(int) []int               { return nil }

// ReadMachine is not available here, so the audits that need it are left out.
func ReadMachine() (Machine, error) { return Machine{At: clock.Mono()}, errors.ErrUnsupported }
