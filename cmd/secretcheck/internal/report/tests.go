package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/llorch/secrets-management/policy/rego"
)

// TestsPretty writes what went wrong, and with all every test; then the lines that no test comes to.
func TestsPretty(w io.Writer, r *rego.TestReport, all bool) error {
	var b bytes.Buffer
	for i := range r.Tests {
		if t := &r.Tests[i]; all || t.Outcome != rego.Passed {
			prettyTest(&b, t)
		}
	}
	for i := range r.Coverage {
		f := &r.Coverage[i]
		fmt.Fprintf(&b, "%s: %d of %d lines covered", Text(f.File), f.Covered, f.Covered+f.Missed())
		if len(f.NotCovered) > 0 {
			fmt.Fprintf(&b, ", not %s", ranges(f.NotCovered))
		}
		b.WriteByte('\n')
	}
	_, err := w.Write(b.Bytes())
	return err
}

func prettyTest(b *bytes.Buffer, t *rego.TestResult) {
	fmt.Fprintf(b, "%s:%d: %s: %s\n", Text(t.File), t.Line, t.Outcome, Text(t.Name))
	if t.Message != "" {
		fmt.Fprintf(b, "  %s\n", Lines(t.Message))
	}
	indented(b, "    ", t.Expression)
	for _, c := range t.Cases {
		if t.Outcome != rego.Passed {
			fmt.Fprintf(b, "  %s: %s\n", c.Outcome, Text(c.Name))
		}
	}
	if t.Printed != "" {
		b.WriteString("  printed:\n")
		indented(b, "    ", t.Printed)
	}
}

func indented(b *bytes.Buffer, by, text string) {
	if text == "" {
		return
	}
	for l := range strings.SplitSeq(Lines(text), "\n") {
		fmt.Fprintf(b, "%s%s\n", by, l)
	}
}

func ranges(list []rego.LineRange) string {
	var parts []string
	for _, r := range list {
		if r.From == r.To {
			parts = append(parts, fmt.Sprint(r.From))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.From, r.To))
		}
	}
	return strings.Join(parts, ", ")
}

// testsReport is the JSON form, an interface.
type testsReport struct {
	SchemaVersion int           `json:"schema_version"`
	Summary       testsSummary  `json:"summary"`
	Tests         []testJSON    `json:"tests"`
	Coverage      *coverageJSON `json:"coverage"` // null unless it was asked for
}

type testsSummary struct {
	Tests     int `json:"tests"`
	Passed    int `json:"passed"`
	Failed    int `json:"failed"`
	Error     int `json:"error"`
	Disagreed int `json:"disagreed"`
	Skipped   int `json:"skipped"`
}

type testJSON struct {
	Name       string       `json:"name"`
	File       string       `json:"file"`
	Line       int          `json:"line"`
	Column     int          `json:"column"`
	Outcome    rego.Outcome `json:"outcome"`
	Message    string       `json:"message"`
	FailedFile string       `json:"failed_file"`
	FailedLine int          `json:"failed_line"`
	Expression string       `json:"expression"`
	Printed    string       `json:"printed"`
	Cases      []caseJSON   `json:"cases"`
	OPAMicros  int64        `json:"opa_us"`
	WasmMicros int64        `json:"wasm_us"`
}

type caseJSON struct {
	Name    string       `json:"name"`
	Outcome rego.Outcome `json:"outcome"`
}

type coverageJSON struct {
	Percent float64        `json:"percent"`
	Files   []fileCoverage `json:"files"`
}

type fileCoverage struct {
	File       string      `json:"file"`
	Covered    int         `json:"covered_lines"`
	Missed     int         `json:"not_covered_lines"`
	NotCovered []lineRange `json:"not_covered"`
}

type lineRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// TestsJSON writes everything, the tests that passed too.
func TestsJSON(w io.Writer, r *rego.TestReport) error {
	out := testsReport{SchemaVersion: 1, Tests: []testJSON{}, Summary: testsSummary{
		len(r.Tests), r.Count(rego.Passed), r.Count(rego.Failed), r.Count(rego.Errored), r.Count(rego.Disagreed), r.Count(rego.Skipped),
	}}
	for i := range r.Tests {
		t := &r.Tests[i]
		cases := []caseJSON{}
		for _, c := range t.Cases {
			cases = append(cases, caseJSON(c))
		}
		out.Tests = append(out.Tests, testJSON{
			t.Name, t.File, t.Line, t.Column, t.Outcome, t.Message, t.FailedFile, t.FailedLine, t.Expression, t.Printed, cases,
			t.OPATime.Microseconds(), t.WasmTime.Microseconds(),
		})
	}
	if r.Coverage != nil {
		out.Coverage = coverageOf(r.Coverage)
	}
	return Value(w, out)
}

func coverageOf(files []rego.FileCoverage) *coverageJSON {
	percent, _ := rego.Covered(files)
	out := &coverageJSON{percent, []fileCoverage{}}
	for i := range files {
		f := &files[i]
		lines := []lineRange{}
		for _, r := range f.NotCovered {
			lines = append(lines, lineRange(r))
		}
		out.Files = append(out.Files, fileCoverage{f.File, f.Covered, f.Missed(), lines})
	}
	return out
}

// TestsJUnit writes a suite for each file of tests.
func TestsJUnit(w io.Writer, r *rego.TestReport) error {
	all := &junitSuites{Name: "secretcheck policy test"}
	for i := range r.Tests {
		t := &r.Tests[i]
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != Text(t.File) { // the tests of a file stand together
			all.Suites = append(all.Suites, &junitSuite{Name: Text(t.File)})
		}
		all.Suites[len(all.Suites)-1].add(junitTest(t))
	}
	return all.write(w)
}

func junitTest(t *rego.TestResult) junitCase {
	class, name := t.Name, t.Name
	if i := strings.LastIndexByte(t.Name, '.'); i >= 0 {
		class, name = t.Name[:i], t.Name[i+1:]
	}
	c := junitCase{Name: Text(name), Class: Text(class), File: Text(t.File), Line: t.Line, Time: (t.OPATime + t.WasmTime).Round(time.Microsecond).Seconds()}
	var b bytes.Buffer
	prettyTest(&b, t)
	text := &junitText{Message: Text(strings.ReplaceAll(t.Message, "\n", " ")), Type: string(t.Outcome), Text: b.String()}
	switch t.Outcome {
	case rego.Passed:
	case rego.Skipped:
		c.Skipped = &junitText{Message: "named todo_test_"}
	case rego.Failed:
		c.Failure = text
	default:
		c.Error = text
	}
	return c
}

// write adds up the suites and writes them.
func (s *junitSuites) write(w io.Writer) error {
	for _, suite := range s.Suites {
		s.Tests, s.Failures, s.Errors, s.Skipped = s.Tests+suite.Tests, s.Failures+suite.Failures, s.Errors+suite.Errors, s.Skipped+suite.Skipped
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
