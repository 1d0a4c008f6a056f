package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"streamduel/clock"
)

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killGroup(group int) { _ = syscall.Kill(-group, syscall.SIGKILL) }

// processCPU reads another process's processor clock, which counts nanoseconds
// where /proc counts hundredths of a second. The clock's number is made as in
// the kernel's posix-timers: the complement of the process id, shifted by
// three, and 2 for the scheduler's clock.
func processCPU(pid int) (time.Duration, bool) {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

func residentBytes(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return n * int64(os.Getpagesize())
}

// residentPeak is the kernel's high-water mark. rusage's maxrss is not used: a
// process that was started by a larger one inherits that one's peak.
func residentPeak(pid int) int64 {
	return number(contents("/proc/"+strconv.Itoa(pid)+"/status"), "VmHWM:") << 10
}

// groupMembers lists the processes of a group.
func groupMembers(group int) (pids []int) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if g, err := syscall.Getpgid(pid); err == nil && g == group {
			pids = append(pids, pid)
		}
	}
	return pids
}

// ReadMachine samples the machine's processors.
func ReadMachine() (Machine, error) {
	m := Machine{At: clock.Mono()}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m, err
	}
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return m, fmt.Errorf("/proc/stat: first line %q is not understood", line)
	}
	var v [8]time.Duration // user nice system idle iowait irq softirq steal, in hundredths of a second
	for i := range v {
		n, err := strconv.ParseInt(string(f[i+1]), 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		v[i] = time.Duration(n) * 10 * time.Millisecond
	}
	m.Busy = v[0] + v[1] + v[2] + v[5] + v[6]
	m.Idle = v[3] + v[4]
	m.Steal = v[7]
	if b, err = os.ReadFile("/proc/loadavg"); err == nil {
		if f := bytes.Fields(b); len(f) > 0 {
			m.Load1, _ = strconv.ParseFloat(string(f[0]), 64)
		}
	}
	// "some avg10=0.00 avg60=0.00 avg300=0.00 total=<microseconds>"
	m.Waiting = time.Duration(number(contents("/proc/pressure/cpu"), "total=")) * time.Microsecond
	// Control groups of version 2 count microseconds, of version 1 nanoseconds.
	m.Throttled = time.Duration(number(contents("/sys/fs/cgroup/cpu.stat"), "throttled_usec "))*time.Microsecond +
		time.Duration(number(contents("/sys/fs/cgroup/cpu/cpu.stat"), "throttled_time "))
	return m, nil
}

// contents reads a file that may not be there.
func contents(path string) []byte {
	b, _ := os.ReadFile(path)
	return b
}

// number reads the number behind a word's first appearance, 0 if there is
// none.
func number(b []byte, word string) int64 {
	_, after, ok := bytes.Cut(b, []byte(word))
	if !ok {
		return 0
	}
	f := bytes.Fields(after)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(f[0]), 10, 64)
	return n
}
