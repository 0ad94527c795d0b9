package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/policy"
)

// JUnit as test reporters of CI systems read it: a suite for each service, a case for each load, and one for each finding
// that is about no load.
type junitSuites struct {
	XMLName  xml.Name      `xml:"testsuites"`
	Name     string        `xml:"name,attr"`
	Tests    int           `xml:"tests,attr"`
	Failures int           `xml:"failures,attr"`
	Errors   int           `xml:"errors,attr"`
	Skipped  int           `xml:"skipped,attr"`
	Suites   []*junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string      `xml:"name,attr"`
	Class   string      `xml:"classname,attr"`
	File    string      `xml:"file,attr"`
	Line    int         `xml:"line,attr"`
	Time    float64     `xml:"time,attr,omitempty"` // seconds
	Failure *junitText  `xml:"failure"`
	Error   *junitText  `xml:"error"`
	Skipped *junitText  `xml:"skipped"`
	Out     *junitLines `xml:"system-out"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

type junitLines struct {
	Text string `xml:",chardata"`
}

// JUnit writes the result as tests: what is denied or undecided fails, what could not be judged is an error, what is
// accepted is skipped.
func JUnit(w io.Writer, r check.Result) error {
	all := &junitSuites{Name: "secretcheck"}
	suites := map[string]*junitSuite{}
	suite := func(name string) *junitSuite {
		s := suites[name]
		if s == nil {
			s = &junitSuite{Name: Text(name)}
			suites[name] = s
			all.Suites = append(all.Suites, s)
		}
		return s
	}
	for i := range r.Loads {
		suite(r.Loads[i].Service).add(junitLoad(&r.Loads[i]))
	}
	for _, f := range besides(r) {
		suite("descriptors").add(junitFinding(f))
	}
	return all.write(w)
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func junitLoad(l *check.Load) junitCase {
	c := junitCase{Name: string(l.Action) + " " + what(*l), Class: Text(l.Service), File: Text(l.File), Line: l.Line}
	var lines []string
	for _, r := range l.Reasons {
		lines = append(lines, sentence(string(r.Severity), r.Code, r.Message, r.Fix))
	}
	text := &junitText{Message: string(l.Verdict), Type: string(l.Verdict), Text: strings.Join(lines, "\n")}
	switch {
	case l.Suppressed:
		c.Skipped = &junitText{Message: string(l.Verdict) + ", and accepted", Text: text.Text}
	case l.Verdict != check.Allowed:
		c.Failure = text
	case len(lines) > 0:
		c.Out = &junitLines{text.Text}
	}
	return c
}

func junitFinding(f check.Finding) junitCase {
	c := junitCase{Name: f.Rule + " at " + place(f.File, f.Line, f.Column), Class: Text(f.Service), File: Text(f.File), Line: f.Line}
	text := sentence(string(f.Severity), f.Rule, f.Message, f.Fix)
	switch {
	case f.Suppressed != nil:
		c.Skipped = &junitText{Message: acceptance(f.Suppressed), Text: text}
	case check.Final(f.Rule):
		c.Error = &junitText{Message: Text(f.Message), Type: f.Rule, Text: text}
	case f.Severity == policy.SeverityError:
		c.Failure = &junitText{Message: Text(f.Message), Type: f.Rule, Text: text}
	default:
		c.Out = &junitLines{text}
	}
	return c
}

func sentence(severity, code, message, fix string) string {
	if fix != "" {
		fix = "; fix: " + Text(fix)
	}
	return fmt.Sprintf("%s %s: %s%s", Text(severity), Text(code), Text(message), fix)
}
