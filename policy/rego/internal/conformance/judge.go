package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
	"github.com/llorch/secrets-management/policy/internal/value"
)

// moduleLine is where a builtin was called, which the guest does not tell.
var moduleLine = regexp.MustCompile(`^test-\d+\.rego:\d+: `)

// judge compares an outcome with what a case wants. The error says what is wrong with it.
func (c *testCase) judge(o *outcome) error {
	switch {
	case c.WantResult != nil && o.err != nil:
		return fmt.Errorf("error: %w", o.err)
	case c.WantResult != nil:
		return errors.Join(c.judgeResult(o.result), sameJSON(o.result, o.json))
	case c.WantError == nil && c.WantErrorCode == nil:
		return errors.New("the case wants nothing")
	case !c.StrictError:
		return c.judgeError(o)
	}
	return c.judgeStrictError(o)
}

// judgeError wants a conflict: the only errors that OPA has without strict_error and that the guest can raise.
func (c *testCase) judgeError(o *outcome) error {
	if o.err == nil {
		return fmt.Errorf("no error, but %s", value.Text(o.result))
	}
	if c.WantErrorCode == nil || *c.WantErrorCode != topdown.ConflictErr || !errors.Is(o.err, sandbox.ErrEvaluation) ||
		!strings.Contains(o.err.Error(), "var assignment conflict") && !strings.Contains(o.err.Error(), "object insert conflict") {
		return fmt.Errorf("another error: %w", o.err)
	}
	return nil
}

// judgeStrictError wants the error of a builtin. One of the host stops the guest, in OPA's words; one that is compiled
// into the module is undefined, whatever the mode.
func (c *testCase) judgeStrictError(o *outcome) error {
	if len(o.failed) == 0 {
		if o.err != nil {
			return fmt.Errorf("another error: %w", o.err)
		}
		if value.Text(o.result) != "set()" && value.Text(o.result) != "[]" {
			return fmt.Errorf("neither an error nor undefined, but %s", value.Text(o.result))
		}
		return nil
	}
	if !errors.Is(o.err, sandbox.ErrEvaluation) {
		return fmt.Errorf("a builtin failed, and the guest went on: %v, error %w", o.failed, o.err)
	}
	said := o.failed[len(o.failed)-1]
	if c.WantError != nil && !strings.Contains(said.Error(), moduleLine.ReplaceAllString(*c.WantError, "")) {
		return fmt.Errorf("the builtin failed otherwise: %w", said)
	}
	if e := new(topdown.Error); errors.As(said, &e) && c.WantErrorCode != nil && e.Code != *c.WantErrorCode {
		return fmt.Errorf("the builtin failed with code %s: %w", e.Code, said)
	}
	return nil
}

// judgeResult compares as OPA does for its evaluator: bindings are a set, a set within is a sorted array, and generated
// variables do not count where the case says so.
func (c *testCase) judgeResult(result value.Value) error {
	want := ast.NewSet()
	for _, bindings := range *c.WantResult {
		v, err := ast.InterfaceToValue(bindings)
		if err != nil {
			return err
		}
		want.Add(ast.NewTerm(v))
	}
	got := ast.NewSet()
	list, err := elements(result)
	if err != nil {
		return err
	}
	for _, bindings := range list {
		term, err := c.binding(bindings)
		if err != nil {
			return err
		}
		got.Add(term)
	}
	if want.Compare(got) != 0 {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}

func elements(v value.Value) ([]value.Value, error) {
	switch v := v.(type) {
	case value.Set:
		return v, nil
	case value.Array:
		return v, nil
	}
	return nil, fmt.Errorf("the result set is %s", value.Text(v))
}

func (c *testCase) binding(v value.Value) (*ast.Term, error) {
	plain, err := ast.JSON(toTerm(v).Value)
	if err != nil {
		return nil, err
	}
	object, ok := plain.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("bindings are %v", plain)
	}
	for name, of := range object {
		if list, ok := of.([]any); ok && c.SortBindings {
			slices.SortFunc(list, util.Compare)
		}
		if c.IgnoreGeneratedVars && strings.HasPrefix(name, "__localq") {
			delete(object, name)
		}
	}
	term, err := ast.InterfaceToValue(object)
	return ast.NewTerm(term), err
}
