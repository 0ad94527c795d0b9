package check

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/envfile"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/secretname"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// readEnvironments looks into the environment files: what they hold takes the place of the findings that nobody has, and
// of what the descriptors set under the same names.
func (c *checker) readEnvironments(in *Input) {
	var findings []descriptor.Finding
	from := map[*descriptor.Environment]map[string]descriptor.Load{} // the last file that sets a name
	breaks := map[*descriptor.Environment][]descriptor.Break{}
	for _, f := range in.Findings {
		if f.Unread == nil || c.cfg.Host == nil {
			findings = append(findings, f)
			continue
		}
		e := f.Unread.Environment
		if from[e] == nil {
			from[e] = map[string]descriptor.Load{}
		}
		more, broken := c.readEnvironment(f, from[e])
		for _, b := range more {
			findings = append(findings, b)
			if broken {
				breaks[e] = append(breaks[e], descriptor.Break{Rule: b.Rule, Message: b.Message, Fix: b.Fix})
			}
		}
	}
	var loads []descriptor.Load
	for _, l := range in.Loads {
		if _, beaten := from[l.Environment][l.Name]; beaten && l.Environment != nil && l.Source == policy.SourceEnv {
			continue
		}
		l.Breaks = append(l.Breaks[:len(l.Breaks):len(l.Breaks)], breaks[l.Environment]...)
		loads = append(loads, l)
	}
	for e, names := range from {
		for _, l := range names {
			if l.Name == "" || e.Unset[l.Name] {
				continue
			}
			l.Breaks = append(l.Breaks[:len(l.Breaks):len(l.Breaks)], breaks[e]...)
			loads = append(loads, l)
		}
	}
	in.Loads, in.Findings = loads, findings
}

// readEnvironment looks into one EnvironmentFile=. It reports whether the findings keep the service from starting.
func (c *checker) readEnvironment(f descriptor.Finding, names map[string]descriptor.Load) (findings []descriptor.Finding, broken bool) {
	files := []string{f.Unread.Path}
	if strings.ContainsAny(f.Unread.Path, "*?[") {
		var err error
		if files, err = c.cfg.Host.Match(f.Unread.Path); err != nil {
			f.Severity, f.Message = policy.SeverityWarning, "the pattern of the environment file cannot be followed"
			return []descriptor.Finding{f}, false
		}
		if len(files) == 0 {
			return c.noEnvironment(f, fs.ErrNotExist)
		}
	}
	for _, name := range files {
		variables, err := c.cfg.Host.Variables(name)
		if err != nil {
			more, stops := c.noEnvironment(f, err)
			findings, broken = append(findings, more...), broken || stops
			continue
		}
		for _, v := range variables {
			findings = append(findings, fileVariable(f.Unread.Environment, name, v, names)...)
		}
	}
	return findings, broken
}

// noEnvironment tells of a file that cannot be read: the service starts without one that may be missing, and with no
// other.
func (c *checker) noEnvironment(f descriptor.Finding, err error) ([]descriptor.Finding, bool) {
	optional := f.Unread.Optional
	f.Unread = nil
	missing, unreadable := errors.Is(err, fs.ErrNotExist), errors.Is(err, envfile.ErrUnreadable)
	switch {
	case missing && optional:
		return nil, false
	case missing:
		f.Rule, f.Severity = RuleMissingSource, policy.SeverityError
		f.Message = "the environment file does not exist: the service does not start"
		f.Fix = c.within("create it, or write EnvironmentFile=- and its path")
		return []descriptor.Finding{f}, true
	case unreadable && !optional:
		f.Rule, f.Severity = descriptor.RuleBreaks, policy.SeverityError
		f.Message = bounded("systemd cannot read the environment file: " + err.Error() + ": the service does not start")
		f.Fix = c.within("correct the file")
		return []descriptor.Finding{f}, true
	case unreadable:
		f.Rule, f.Severity = descriptor.RuleIgnored, policy.SeverityWarning
		f.Message = bounded("systemd would ignore the environment file: " + err.Error())
		f.Fix = c.within("correct the file")
		return []descriptor.Finding{f}, false
	}
	f.Severity, f.Message = policy.SeverityWarning, bounded("the environment file cannot be looked at: "+err.Error())
	f.Fix = "run the check as root, and keep the file below 1 MiB"
	return []descriptor.Finding{f}, false
}

// fileVariable adds the load of a variable that is a secret by its name. Whatever a file sets is in force before what an
// earlier one did.
func fileVariable(e *descriptor.Environment, file string, v envfile.Variable, names map[string]descriptor.Load) []descriptor.Finding {
	at := descriptor.Position{File: file, Line: v.Line, Column: v.Column, EndLine: v.EndLine, EndColumn: v.EndColumn}
	if v.Name == "" {
		return []descriptor.Finding{{
			Rule: descriptor.RuleIgnored, Severity: policy.SeverityWarning, Position: at, Service: e.Load.Service,
			Message: "systemd would ignore this assignment: its name is not made of letters, digits and _",
			Fix:     "correct the line; there is no export in front of it",
		}}
	}
	if !v.Literal || !secretname.Is(v.Name) {
		names[v.Name] = descriptor.Load{} // it is set, and no secret
		return nil
	}
	l := e.Load
	l.Name, l.Position, l.Environment = v.Name, at, e
	names[v.Name] = l
	return systemd.EnvironmentFindings(e, descriptor.RuleEnvironmentFile, v.Name, at)
}
