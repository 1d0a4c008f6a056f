package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/spf13/cobra"
)

// Levels of a check.
const (
	levelOK      = "ok"
	levelMissing = "missing" // an optional ability is not there
	levelPoor    = "poor"    // it works, and figures suffer
	levelBroken  = "broken"  // nothing can be run
)

// check is one line of `doctor`.
type check struct {
	Name   string `json:"name"`
	Level  string `json:"level"`
	Value  string `json:"value"`
	Remedy string `json:"remedy,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	var out string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "What this machine can run, and what to do about what is missing",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.fromVariables(cmd); err != nil {
				return err
			}
			checks := examine(cmd.Context(), a.env, out)
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			p := &printer{w: a.env.Stdout}
			if asJSON {
				data, err := json.MarshalIndent(checks, "", "  ")
				if err != nil {
					return err
				}
				p.printf("%s\n", data)
			} else {
				p.err = table(a.env.Stdout, checks)
			}
			if i := slices.IndexFunc(checks, func(c check) bool { return c.Level == levelBroken }); i >= 0 {
				return environment("doctor: %s: %s: %s", checks[i].Name, checks[i].Value, checks[i].Remedy)
			}
			return p.done()
		},
	}
	cmd.Flags().StringVar(&out, "out", "results", "folder of the results")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return cmd
}

func table(w io.Writer, checks []check) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%s\n", c.Level, c.Name, c.Value); err != nil {
			return err
		}
		if c.Remedy != "" {
			if _, err := fmt.Fprintf(tw, "\t\t→ %s\n", c.Remedy); err != nil {
				return err
			}
		}
	}
	return tw.Flush()
}

func examine(ctx context.Context, env Env, out string) []check {
	checks := []check{
		cores(ctx), memory(ctx),
		resolution(), steady(),
		results(out),
		freePorts(),
		docker(ctx, env),
	}
	for _, t := range []struct{ name, argument, purpose string }{
		{"java", "-version", "--broker local needs a Java runtime of version 17 or newer"},
		{"mvn", "-version", "--broker local needs Maven once, to fetch Kafka"},
		{"go", "version", "make and the source need Go; a built bench does not"},
	} {
		checks = append(checks, tool(ctx, t.name, t.argument, t.purpose))
	}
	return checks
}

func cores(ctx context.Context) check {
	c := check{Name: "cores", Level: levelOK, Value: fmt.Sprint(runtime.GOMAXPROCS(0))}
	if info, err := cpu.InfoWithContext(ctx); err == nil && len(info) > 0 && info[0].ModelName != "" {
		c.Value += ", " + strings.TrimSpace(info[0].ModelName)
	}
	if runtime.GOMAXPROCS(0) < 2 {
		c.Level, c.Remedy = levelPoor, "engine, broker and load share one core: use a machine with two or more"
	}
	return c
}

func memory(ctx context.Context) check {
	c := check{Name: "memory", Level: levelOK}
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		c.Level, c.Value = levelPoor, "unknown: "+oneLine(err.Error())
		return c
	}
	c.Value = fmt.Sprintf("%s, %s available", gibi(m.Total), gibi(m.Available))
	if m.Available < 2<<30 {
		c.Level, c.Remedy = levelPoor, "broker, load and engine want 2 GiB together: close other programs"
	}
	return c
}

func gibi(bytes uint64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }

// resolution is the smallest step that the monotonic clock was seen to make.
func resolution() check {
	smallest := time.Hour
	for range 2000 {
		start := time.Now()
		d := time.Since(start)
		for d <= 0 {
			d = time.Since(start)
		}
		smallest = min(smallest, d)
	}
	c := check{Name: "clock resolution", Level: levelOK, Value: smallest.String()}
	if smallest > 100*time.Microsecond {
		c.Level, c.Remedy = levelPoor, "latencies below a millisecond mean nothing here: use a machine with a finer clock (clocksource tsc)"
	}
	return c
}

// steady compares the wall clock with the monotonic one over a moment.
func steady() check {
	c := check{Name: "clock is steady", Level: levelOK, Value: "monotonic, and the wall clock agrees"}
	start := time.Now()
	before := start
	deadline := start.Add(50 * time.Millisecond)
	for now := time.Now(); now.Before(deadline); now = time.Now() {
		if now.Sub(before) < 0 {
			c.Level, c.Value, c.Remedy = levelBroken, "the monotonic clock went backwards", "no schedule can be kept on this machine"
			return c
		}
		before = now
	}
	end := time.Now()
	drift := end.Round(0).Sub(start.Round(0)) - end.Sub(start)
	if drift.Abs() > 5*time.Millisecond {
		c.Level, c.Value = levelPoor, fmt.Sprintf("the wall clock moved by %s in 50 ms", drift)
		c.Remedy = "let the time service settle: event times follow the wall clock"
	}
	return c
}

// results examines the folder: can it be written, what is free, and how long
// does a sync of 4 KiB take there.
func results(out string) check {
	c := check{Name: "results folder", Level: levelOK, Value: out}
	_, statErr := os.Stat(out)
	if err := writable(out); err != nil {
		c.Level, c.Remedy = levelBroken, err.Error()
		return c
	}
	defer func() {
		if statErr != nil {
			_ = os.Remove(out) // it was not there before, and is empty
		}
	}()
	if u, err := disk.Usage(out); err == nil {
		c.Value += fmt.Sprintf(", %s free", gibi(u.Free))
	}
	p50, err := syncTime(out, 21)
	if err != nil {
		c.Level, c.Remedy = levelBroken, oneLine(err.Error())
		return c
	}
	c.Value += fmt.Sprintf(", 4 KiB synced in %s", p50.Round(10*time.Microsecond))
	if p50 > 20*time.Millisecond {
		c.Level, c.Remedy = levelPoor, "each checkpoint and batch log waits for it: use a faster disk with --out, or durability: process"
	}
	return c
}

// syncTime is the median time of writing and syncing 4 KiB.
func syncTime(dir string, times int) (p50 time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".sync-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := make([]byte, 4096)
	took := make([]time.Duration, times)
	for i := range took {
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i)*int64(len(block))); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[times/2], nil
}

// freePorts opens what the broker and the transport would.
func freePorts() check {
	c := check{Name: "ports", Level: levelOK, Value: "free ones on 127.0.0.1"}
	var open []net.Listener
	defer func() {
		for _, l := range open {
			_ = l.Close()
		}
	}()
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			c.Level, c.Value = levelBroken, oneLine(err.Error())
			c.Remedy = "the broker listens on loopback: allow it, or name a broker with --broker HOST:PORT"
			return c
		}
		open = append(open, l)
	}
	return c
}

func docker(ctx context.Context, env Env) check {
	c := check{Name: "docker", Level: levelMissing, Remedy: "only --broker container needs it: start Docker, or set DOCKER_HOST"}
	network, address := "unix", "/var/run/docker.sock"
	if host, ok := env.Lookup("DOCKER_HOST"); ok && host != "" {
		scheme, rest, found := strings.Cut(host, "://")
		if !found {
			c.Value = fmt.Sprintf("DOCKER_HOST=%q is no address", host)
			return c
		}
		network, address = scheme, rest
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		c.Value = "no answer at " + address
		return c
	}
	_ = conn.Close()
	return check{Name: "docker", Level: levelOK, Value: "answers at " + address}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// tool looks for a program and asks for its version.
func tool(ctx context.Context, name, argument, purpose string) check {
	c := check{Name: name, Level: levelMissing, Value: "not found", Remedy: purpose}
	path, err := exec.LookPath(name)
	if err != nil {
		return c
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, argument).CombinedOutput()
	if err != nil {
		c.Value = fmt.Sprintf("%s does not run: %s", filepath.Base(path), oneLine(err.Error()))
		return c
	}
	plain := escapes.ReplaceAllString(string(text), "") // Maven colors its version
	first, _, _ := strings.Cut(strings.TrimSpace(plain), "\n")
	return check{Name: name, Level: levelOK, Value: oneLine(first)}
}
