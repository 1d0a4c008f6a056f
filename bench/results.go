package bench

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"streamduel/runs"
)

func writeJSON(out *printer, s *runs.Summary) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	out.printf("%s\n", data)
	return nil
}

// reasons prints what did not pass, and why.
func reasons(out *printer, s *runs.Summary) {
	for _, c := range s.Cells {
		if c.Verdict == runs.Pass {
			continue
		}
		out.printf("%s: %s\n", c.ID, c.Verdict)
		for _, r := range c.Reasons {
			out.printf("    %s\n", oneLine(r))
		}
	}
	for _, r := range s.Reasons {
		out.printf("%s\n", oneLine(r))
	}
}

// verdict prints the run's verdict in a line: "fail: 10 cells, 1 fail". A run
// that was broken off has none.
func verdict(out *printer, s *runs.Summary, partial bool) {
	if partial {
		return
	}
	line := fmt.Sprintf("%s: %s", s.Verdict, plural(len(s.Cells), "cell"))
	for _, v := range []runs.Verdict{runs.Fail, runs.Inconclusive} {
		n := 0
		for _, c := range s.Cells {
			if c.Verdict == v {
				n++
			}
		}
		if n > 0 {
			line += fmt.Sprintf(", %d %s", n, v)
		}
	}
	out.printf("%s\n", line)
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}

// writeFiles writes what --junit and --markdown ask for.
func (a *app) writeFiles(f runFlags, result Result) error {
	var errs []error
	if f.junit != "" {
		errs = append(errs, create(f.junit, func(file *os.File) error { return writeJUnit(file, result.Summary) }))
	}
	if f.markdown != "" && a.parts.report != nil {
		errs = append(errs, create(f.markdown, func(file *os.File) error { return a.parts.report.Markdown(file, result.Dir) }))
	}
	return errors.Join(errs...)
}

func create(path string, write func(*os.File) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := file.Close(); err == nil {
			err = e
		}
	}()
	return write(file)
}

// The JUnit form that CI systems read: a suite is a scenario, a case is a cell.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Seconds string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
}

type junitProblem struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(w *os.File, s *runs.Summary) error {
	all := junitSuites{Name: "streamduel " + s.Run.ID}
	index := map[string]int{}
	for _, c := range s.Cells {
		i, ok := index[c.Scenario]
		if !ok {
			i = len(all.Suites)
			index[c.Scenario] = i
			all.Suites = append(all.Suites, junitSuite{Name: c.Scenario, Timestamp: s.Run.Started.UTC().Format("2006-01-02T15:04:05")})
		}
		suite := &all.Suites[i]
		one := junitCase{Name: c.ID, Class: "streamduel." + c.Scenario + "." + c.Engine, Seconds: "0"}
		if n := len(c.Phases); n > 0 {
			one.Seconds = fmt.Sprintf("%.3f", c.Phases[n-1].End-c.Phases[0].Start)
		}
		if c.Verdict != runs.Pass {
			p := &junitProblem{Type: string(c.Verdict), Text: strings.Join(c.Reasons, "\n")}
			if len(c.Reasons) > 0 {
				p.Message = oneLine(c.Reasons[0])
			}
			// Inconclusive is an error in JUnit's sense: nothing was proved.
			if c.Verdict == runs.Fail {
				one.Failure = p
				suite.Failures++
				all.Failures++
			} else {
				one.Error = p
				suite.Errors++
				all.Errors++
			}
		}
		suite.Cases = append(suite.Cases, one)
		suite.Tests++
		all.Tests++
	}
	if _, err := w.WriteString(xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := w.WriteString("\n")
	return err
}
