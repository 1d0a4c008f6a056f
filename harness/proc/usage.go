package proc

import (
	"os"
	"sync"
	"time"

	"streamduel/clock"
)

// Usage is what a process group has used up to a moment.
type Usage struct {
	At        int64         // clock.Mono
	CPU       time.Duration // user and system time since its start, of the whole group
	RSS       int64         // resident bytes now; 0 after the end
	RSSPeak   int64         // largest RSS of the leader by the kernel, or of the group by samples
	Processes int           // members seen alive
}

// rescan is how often a group's members are looked for: that walks all of
// /proc, while reading a known member costs two system calls.
const rescan = time.Second

// meter adds up a group's use. A member that has ended keeps its last reading,
// which misses at most what it used since.
type meter struct {
	mu      sync.Mutex
	leader  int
	last    map[int]time.Duration
	scanned int64
	final   time.Duration // of the leader and the children that it waited for
	peak    int64
	ended   bool
}

func (m *meter) start(leader int) {
	m.leader = leader
	m.last = map[int]time.Duration{leader: 0}
}

func (m *meter) stop(s *os.ProcessState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	m.final = s.UserTime() + s.SystemTime()
}

// Usage measures the process group. It is exact for the leader; after the
// leader's end it is what the kernel has accounted to it.
func (c *Child) Usage() Usage {
	m := &c.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	u := Usage{At: clock.Mono()}
	if !m.ended {
		if u.At-m.scanned > int64(rescan) {
			m.scanned = u.At
			for _, pid := range groupMembers(m.leader) {
				if _, known := m.last[pid]; !known {
					m.last[pid] = 0
				}
			}
		}
		for pid := range m.last {
			cpu, ok := processCPU(pid)
			if !ok {
				continue
			}
			m.last[pid] = max(cpu, m.last[pid])
			u.Processes++
			u.RSS += residentBytes(pid)
		}
		m.peak = max(m.peak, u.RSS, residentPeak(m.leader))
	}
	for _, cpu := range m.last {
		u.CPU += cpu
	}
	// The kernel's account holds the children that the leader waited for as
	// well as those sampled here, so the two are not added.
	u.CPU = max(u.CPU, m.final)
	u.RSSPeak = m.peak
	return u
}

// SelfUsage measures this process.
func SelfUsage() Usage {
	pid := os.Getpid()
	cpu, _ := processCPU(pid)
	return Usage{At: clock.Mono(), CPU: cpu, RSS: residentBytes(pid), RSSPeak: residentPeak(pid), Processes: 1}
}

// Machine is what the whole machine has done since it started: a self-audit
// compares two samples.
type Machine struct {
	At    int64         // clock.Mono
	Busy  time.Duration // all processors together, without Steal
	Steal time.Duration // taken by the hypervisor
	Idle  time.Duration // waiting for a disk counts as idle
	Load1 float64       // processes that ran or wanted to, over the last minute
	// Waiting is how long some process was ready to run and had no processor
	// (the kernel's pressure information; 0 where there is none).
	Waiting time.Duration
	// Throttled is how long the processes of our control group were held for
	// having used up their quota; 0 where there is no quota.
	Throttled time.Duration
}

// Shares returns the busy, stolen and idle shares between two samples, as parts
// of one; zeros when no time has passed.
func (m Machine) Shares(before Machine) (busy, steal, idle float64) {
	b, s, i := m.Busy-before.Busy, m.Steal-before.Steal, m.Idle-before.Idle
	all := float64(b + s + i)
	if all <= 0 {
		return 0, 0, 0
	}
	return float64(b) / all, float64(s) / all, float64(i) / all
}
