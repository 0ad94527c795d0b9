package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/types"
)

// inputAccess finds what keeps the schema from catching a misspelt reference: a member of the input that is chosen at run
// time, in whatever way, and the input as a whole where it can be taken apart out of sight. The module is a compiled one,
// in which imports and local names have been resolved.
func inputAccess(compiler *ast.Compiler, module *ast.Module) (dynamic, whole ast.Errors) {
	for _, rule := range module.Rules {
		a := access{compiler: compiler, names: inputNames(rule)}
		a.visit(rule)
		dynamic, whole = append(dynamic, a.dynamic...), append(whole, a.whole...)
	}
	return dynamic, whole
}

// access collects what is found in one rule.
type access struct {
	compiler       *ast.Compiler
	names          map[ast.Var]ast.Ref // what local variables stand for
	dynamic, whole ast.Errors
}

// inputNames lists the variables of a rule that stand for a part of the input; the compiler makes many of its own.
func inputNames(rule *ast.Rule) map[ast.Var]ast.Ref {
	names := map[ast.Var]ast.Ref{}
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if e.IsEquality() && len(e.Operands()) == 2 {
			name, isVar := e.Operand(0).Value.(ast.Var)
			ref, isRef := e.Operand(1).Value.(ast.Ref)
			if isVar && isRef && ref.HasPrefix(ast.InputRootRef) {
				names[name] = ref
			}
		}
		return false
	})
	return names
}

func (a *access) visit(x any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.With: // what it replaces is not read
			a.visit(x.Value)
			return true
		case *ast.Every:
			a.iterated(x.Domain)
		case *ast.Expr:
			if x.IsCall() {
				a.call(x)
			}
		case *ast.Term: // not its own head, whose place is that of an import where there is one
			if ref, ok := x.Value.(ast.Ref); ok {
				a.reference(ref, x.Location)
			}
		}
		return false
	}).Walk(x)
}

// resolved is a reference with the variable at its head replaced by the part of the input that it stands for.
func (a *access) resolved(ref ast.Ref) ast.Ref {
	if head, ok := ref[0].Value.(ast.Var); ok && a.names[head] != nil {
		return a.names[head].Concat(ref[1:])
	}
	return ref
}

func (a *access) reference(ref ast.Ref, at *ast.Location) {
	if at == nil {
		at = ref[0].Location
	}
	full := a.resolved(ref)
	if !full.HasPrefix(ast.InputRootRef) {
		return
	}
	if len(full) == 1 {
		a.whole = append(a.whole, ast.NewError(ast.CompileErr, at, "the whole input is passed on: what is read from it cannot be checked"))
		return
	}
	for i := 1; i < len(full); i++ {
		if !ast.IsScalar(full[i].Value) && !a.isList(full[:i]) {
			a.chosen(at, full[:i])
			return
		}
	}
}

// call looks at the builtins that go through all members of an operand.
func (a *access) call(e *ast.Expr) {
	operand := map[string]int{ast.WalkBuiltin.Name: 0, ast.Member.Name: 1, ast.MemberWithKey.Name: 2}
	if i, ok := operand[e.Operator().String()]; ok && i < len(e.Operands()) {
		a.iterated(e.Operand(i))
	}
}

// iterated is for what goes through all members of a value.
func (a *access) iterated(domain *ast.Term) {
	ref, ok := domain.Value.(ast.Ref)
	if name, isVar := domain.Value.(ast.Var); isVar {
		ref, ok = a.names[name]
	}
	if ok && len(ref) > 1 && ref.HasPrefix(ast.InputRootRef) && !a.isList(ref) { // the whole input is an error already
		a.chosen(domain.Location, ref)
	}
}

func (a *access) chosen(at *ast.Location, of ast.Ref) {
	a.dynamic = append(a.dynamic, ast.NewError(ast.CompileErr, at,
		"a member of %s is chosen at run time: a misspelt name would not be found", of))
}

// isList asks the schema whether a part of the input is a list.
func (a *access) isList(ref ast.Ref) bool {
	typed := make(ast.Ref, len(ref))
	for i, term := range ref {
		if typed[i] = term; i > 0 && !ast.IsScalar(term.Value) {
			typed[i] = ast.IntNumberTerm(0) // any element
		}
	}
	_, list := a.compiler.TypeEnv.GetByRef(typed).(*types.Array)
	return list
}
