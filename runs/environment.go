package runs

import (
	"context"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// Environment fills in where a run happens: commit, dirty, go, os, kernel,
// cpu, cores, memoryBytes. What cannot be found out stays empty; a commit
// that cannot be is "unknown". The revision comes from the binary; for one
// built without it (go run, go test) from git in the working folder.
func Environment(ctx context.Context) Run {
	r := Run{
		Commit: "unknown",
		Go:     runtime.Version(),
		OS:     runtime.GOOS + "/" + runtime.GOARCH,
		Cores:  runtime.GOMAXPROCS(0),
	}
	r.Commit, r.Dirty = revision(ctx)
	if info, err := host.InfoWithContext(ctx); err == nil {
		r.Kernel = info.KernelVersion
		if info.Platform != "" {
			r.OS += " (" + strings.TrimSpace(info.Platform+" "+info.PlatformVersion) + ")"
		}
	}
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 {
		r.CPU = strings.TrimSpace(info[0].ModelName)
	}
	if m, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		r.MemoryBytes = int64(m.Total)
	}
	return r
}

func revision(ctx context.Context) (commit string, dirty bool) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.modified":
				dirty = s.Value == "true"
			}
		}
	}
	if commit != "" {
		return commit, dirty
	}
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output()
	if err != nil {
		return "unknown", false
	}
	status, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	return strings.TrimSpace(string(out)), err == nil && len(status) > 0
}
