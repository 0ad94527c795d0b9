package check

import (
	"cmp"
	"context"
	"io/fs"
	"slices"
	"sort"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/envfile"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/fingerprint"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// Decider is the policy in force.
type Decider interface {
	Decide(ctx context.Context, r *policy.Request) (policy.Decision, error)
	MayAsk(ctx context.Context, r *policy.Request) (bool, error)
}

// Seen is what a host shows of a file, without its content.
type Seen struct {
	Resolved string
	Above    []string
	Links    []string
	File     policy.File
	Barred   string // the first directory that the user surely may not search, or the file that it may not read
}

// Host answers questions about the machine that the services will run on.
type Host interface {
	// See looks at a file as the user self would find it. The error matches fs.ErrNotExist or fs.ErrPermission where
	// that is what it means, and a *DanglingError where a symbolic link is why nothing is there.
	See(path string, self int64) (Seen, error)

	// List lists a directory, sorted by name. The error is as that of See.
	List(dir string) ([]fs.DirEntry, error)

	// UID looks an account up.
	UID(user string) (uid int64, ok bool, err error)

	// Variables lists what an environment file sets. The error matches fs.ErrNotExist, or envfile.ErrUnreadable.
	Variables(path string) ([]envfile.Variable, error)

	// Match lists the files that a pattern stands for.
	Match(pattern string) ([]string, error)
}

// DanglingError says that a symbolic link leads out of the host's root, or to nothing. It matches fs.ErrNotExist.
type DanglingError struct {
	Link string // the path of the link, seen from the root
}

func (e *DanglingError) Error() string { return "the symbolic link " + e.Link + " leads to nothing" }

// Is matches fs.ErrNotExist.
func (e *DanglingError) Is(target error) bool { return target == fs.ErrNotExist }

// Config is what a check judges with.
type Config struct {
	Policy       Decider
	Host         Host   // nil: nothing on the host is looked at
	Root         string // the folder that stands for the host's root; empty when it is this machine's own
	RequireFacts bool   // a load whose facts are unchecked is not called allowed
	Environment  string // context.environment of the requests
	Systemd      int    // the version of systemd that makes the credentials; 0 stands for the newest that is known

	KeepInputs bool // what was put to the policy is kept for every load, and not only for those with reasons

	// Progress is told how many loads of how many are judged; nil for nobody.
	Progress func(done, of int)
}

// Input is what the descriptors hold.
type Input struct {
	Descriptors int
	Loads       []descriptor.Load
	Findings    []descriptor.Finding
	Silent      []string      // descriptors that are in order and load nothing
	Files       []fs.FileInfo // what was read
}

// Run judges every load. It does not stop at the first bad one: a report that names everything is fixed in one go. It does
// at the end of ctx, and then the result is none.
func Run(ctx context.Context, cfg Config, in Input) Result {
	cfg.Systemd = cmp.Or(cfg.Systemd, systemd.Newest)
	c := &checker{cfg: cfg, looks: map[string]look{}, result: Result{Loads: []Load{}, Findings: []Finding{}}}
	c.readEnvironments(&in)
	for _, f := range in.Findings {
		if c.granted(ctx, f) {
			continue
		}
		c.result.BadInput = c.result.BadInput || f.Bad()
		c.report(f)
	}
	loads := c.expand(in.Loads)
	for i, l := range loads {
		if ctx.Err() != nil {
			break
		}
		if cfg.Progress != nil {
			cfg.Progress(i, len(loads))
		}
		j := c.judgeAll(ctx, l)
		if j.looked {
			onHost(l, j.reasons)
			c.inRoot(j.reasons)
		}
		j.breaks(l)
		c.add(l, j)
	}
	c.result.Summary.Descriptors = in.Descriptors
	c.result.Silent, c.result.Rooted = slices.Sorted(slices.Values(in.Silent)), cfg.Host != nil
	c.order()
	return c.result
}

// inRoot says in every fix which tree it is about: who pastes a command must not change this machine's own file.
func (c *checker) inRoot(reasons []Reason) {
	for i := range reasons {
		reasons[i].Fix = c.within(reasons[i].Fix)
	}
}

func (c *checker) within(fix string) string {
	note := bounded(" (inside " + c.cfg.Root + ")")
	if c.cfg.Root == "" || fix == "" || strings.HasSuffix(fix, note) {
		return fix
	}
	return fix + note
}

type checker struct {
	cfg    Config
	looks  map[string]look // of files as root finds them
	result Result
}

// judgement is the outcome for one load.
type judgement struct {
	verdict Verdict
	action  policy.Action
	origin  string
	facts   policy.FactsState
	reasons []Reason
	grants  []string

	input       *policy.Request // as the policy was asked
	inputDenied bool            // and refused it
	obligations policy.Obligations

	minLength int64  // what the loader will demand
	barred    string // where the service's account cannot pass
	looked    bool   // the host's files were looked at
}

// add counts a load and turns its reasons into findings.
func (c *checker) add(l descriptor.Load, j judgement) {
	s := &c.result.Summary
	s.Loads++
	switch j.verdict {
	case Allowed:
		s.Allowed++
	case Denied:
		s.Denied++
	default:
		s.Undecided++
	}
	out := Load{
		Service: l.Service, Action: j.action, Source: l.Source, Name: l.Name, Path: l.Path, Origin: j.origin,
		Verdict: j.verdict, Facts: j.facts, Reasons: j.reasons, Grants: j.grants,
		File: l.File, Line: l.Line, Column: l.Column, EndLine: l.Ended().EndLine, EndColumn: l.Ended().EndColumn,
		Snippet: l.Snippet, Obligations: j.obligations,
	}
	if out.Reasons == nil {
		out.Reasons = []Reason{}
	}
	if out.Grants == nil {
		out.Grants = []string{}
	}
	if (c.cfg.KeepInputs || len(out.Reasons) > 0) && j.input != nil {
		if _, err := j.input.AppendJSON(nil); err == nil {
			out.Input = j.input
		}
	}
	for i := range out.Reasons {
		if !out.Reasons[i].told {
			out.Reasons[i].Fingerprint = printOf(finding(l, out.Reasons[i]))
		}
	}
	c.result.Loads = append(c.result.Loads, out)
	for _, r := range out.Reasons {
		if r.Severity != policy.SeverityNote && !r.told {
			c.report(finding(l, r))
		}
	}
}

func finding(l descriptor.Load, r Reason) descriptor.Finding {
	return descriptor.Finding{
		Rule: r.Code, Severity: r.Severity, Message: r.Message, Fix: r.Fix, Position: l.Position, Snippet: l.Snippet,
		Service: l.Service, Source: l.Source, Name: l.Name, Path: l.Path,
	}
}

func (c *checker) report(f descriptor.Finding) {
	if f.Severity == policy.SeverityWarning {
		c.result.Summary.Warnings++
	}
	c.result.Findings = append(c.result.Findings, Finding{
		Rule: f.Rule, Severity: f.Severity, Message: f.Message, Fix: f.Fix,
		File: f.File, Line: f.Line, Column: f.Column, EndLine: f.Ended().EndLine, EndColumn: f.Ended().EndColumn, Service: f.Service,
		Fingerprint: printOf(f), Snippet: f.Snippet,
	})
}

// printOf names a finding across runs: neither its line nor any value goes in, so that it survives edits elsewhere in the
// descriptor.
func printOf(f descriptor.Finding) string {
	return fingerprint.Of(f.Rule, f.Service, string(f.Source), f.Name, f.Path, f.File)
}

// order makes the report independent of the order in which descriptors were found.
func (c *checker) order() {
	loads, findings := c.result.Loads, c.result.Findings
	sort.SliceStable(loads, func(i, j int) bool {
		a, b := loads[i], loads[j]
		return before(a.Service, b.Service, a.File, b.File, a.Line, b.Line, a.Column, b.Column)
	})
	sort.SliceStable(findings, func(i, j int) bool {
		a, b := findings[i], findings[j]
		return before(a.File, b.File, a.Service, b.Service, a.Line, b.Line, a.Column, b.Column)
	})
}

func before(a1, b1, a2, b2 string, line1, line2, column1, column2 int) bool {
	switch {
	case a1 != b1:
		return a1 < b1
	case a2 != b2:
		return a2 < b2
	case line1 != line2:
		return line1 < line2
	}
	return column1 < column2
}
