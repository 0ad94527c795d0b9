package rego

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy"
)

// The rules of [Check].
const (
	RuleCompile       = "compile"        // it does not build
	RuleDynamicInput  = "dynamic_input"  // a part of the input is chosen by a name that is not written out
	RuleWholeInput    = "whole_input"    // the input is passed on as a whole
	RuleSilentBuiltin = "silent_builtin" // a call that can fail, and then the rule that it stands in is lost in silence
	RuleSlowBuiltin   = "slow_builtin"   // a call that takes longer than a whole decision
)

// Finding is something that the author of a policy should change. An error keeps it from being a policy, a warning does
// not.
type Finding struct {
	Rule         string
	Severity     policy.Severity
	File         string // with the folder; empty where no place is known
	Line, Column int    // from 1; a column counts bytes
	Message      string // of several lines where the compiler shows the source
	Fix          string // may be empty
}

// Check reports what is wrong with the modules of a policy and what is likely to be: whatever [Build] refuses in them,
// access to the input that the schema cannot see through, and builtins that fail without a word or take long. Errors come
// before warnings, both in the order of the sources. Its error is about sources that have no place to name, and matches
// [ErrSource].
func Check(ctx context.Context, src Source) ([]Finding, error) {
	_, compiler, err := build(ctx, src, toWasm)
	var refused ast.Errors
	switch {
	case errors.As(err, &refused):
		findings := asFindings(&src, RuleCompile, refused)
		if old := new(oldRego); errors.As(err, &old) {
			findings[0].Fix = oldRegoFix
		}
		return findings, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSource, positioned(&src, err))
	}
	modules, err := parse(src.Modules)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	var findings []Finding
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		findings = append(findings, lint(&src, compiler, name, modules[name])...)
	}
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(string(a.Severity), string(b.Severity)), strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return findings, nil
}

// lint looks at one module that builds: as it was compiled for what its references mean, as it was written for its calls.
func lint(src *Source, compiler *ast.Compiler, name string, module *ast.Module) []Finding {
	dynamic, whole := inputAccess(compiler, compiler.Modules[name])
	return slices.Concat(asFindings(src, RuleDynamicInput, dynamic), asFindings(src, RuleWholeInput, whole), hazards(src, module))
}

// asFindings takes over what a compiler says, in its own order.
func asFindings(src *Source, rule string, errs ast.Errors) []Finding {
	var findings []Finding
	for _, e := range errs {
		f := Finding{Rule: rule, Severity: policy.SeverityError, Message: e.Message, Fix: fixes(rule)}
		if e.Details != nil {
			f.Message += "\n" + strings.Join(e.Details.Lines(), "\n")
		}
		if e.Location != nil {
			f.File, f.Line, f.Column = src.place(e.Location.File), e.Location.Row, e.Location.Col
		}
		if !slices.Contains(findings, f) {
			findings = append(findings, f)
		}
	}
	return findings
}

func fixes(rule string) string {
	switch rule {
	case RuleDynamicInput:
		return "write the name out; the elements of a list may be walked through"
	case RuleWholeInput:
		return "pass the parts that are needed, for example input.subject.uid"
	}
	return ""
}
