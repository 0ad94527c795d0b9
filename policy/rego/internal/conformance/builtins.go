package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
	topdownbuiltins "github.com/open-policy-agent/opa/v1/topdown/builtins"

	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/sandbox"
	"github.com/llorch/secrets-management/policy/internal/value"
)

// offered are all of OPA's builtins for one case, those that services offer replaced by ours, so that the cases judge
// ours. The functions share what OPA has one query share: the time, and what was drawn at random.
func offered() map[string]sandbox.Builtin {
	bctx := topdown.BuiltinContext{
		Metrics: metrics.New(), Seed: rand.Reader, Cancel: topdown.NewCancel(), Cache: topdownbuiltins.Cache{},
		Time:         ast.NumberTerm(json.Number(strconv.FormatInt(time.Now().UnixNano(), 10))),
		Capabilities: ast.CapabilitiesForThisVersion(),
	}
	all := map[string]sandbox.Builtin{}
	for _, b := range ast.Builtins {
		if f := topdown.GetBuiltin(b.Name); f != nil {
			all[b.Name] = sandbox.Builtin{Arity: b.Decl.Arity(), Call: adapt(bctx, f)}
		}
	}
	maps.Copy(all, builtins.All())
	return all
}

// adapt lets a builtin of OPA's evaluator work on the sandbox's values.
func adapt(bctx topdown.BuiltinContext, f topdown.BuiltinFunc) func(context.Context, []value.Value) (value.Value, error) {
	return func(ctx context.Context, args []value.Value) (value.Value, error) {
		bctx.Context = ctx
		terms := make([]*ast.Term, len(args))
		for i, arg := range args {
			terms[i] = toTerm(arg)
		}
		var result *ast.Term
		err := f(bctx, terms, func(t *ast.Term) error {
			result = t
			return nil
		})
		if halt := new(topdown.Halt); errors.As(err, halt) {
			return nil, fmt.Errorf("%w: %w", sandbox.ErrHalt, halt.Err)
		}
		if err != nil || result == nil {
			return nil, err
		}
		return fromTerm(result)
	}
}

func toTerm(v value.Value) *ast.Term {
	switch v := v.(type) {
	case bool:
		return ast.BooleanTerm(v)
	case value.Number:
		return ast.NumberTerm(json.Number(v))
	case string:
		return ast.StringTerm(v)
	case value.Array:
		return ast.ArrayTerm(toTerms(v)...)
	case value.Set:
		return ast.SetTerm(toTerms(v)...)
	case value.Object:
		pairs := make([][2]*ast.Term, len(v))
		for i, m := range v {
			pairs[i] = [2]*ast.Term{toTerm(m.Key), toTerm(m.Value)}
		}
		return ast.ObjectTerm(pairs...)
	}
	return ast.NullTerm()
}

func toTerms(list []value.Value) []*ast.Term {
	terms := make([]*ast.Term, len(list))
	for i, v := range list {
		terms[i] = toTerm(v)
	}
	return terms
}

func fromTerm(t *ast.Term) (value.Value, error) {
	switch v := t.Value.(type) {
	case ast.Null:
		return value.Null{}, nil
	case ast.Boolean:
		return bool(v), nil
	case ast.Number:
		return value.Number(v), nil
	case ast.String:
		return string(v), nil
	case *ast.Array:
		list, err := fromTerms(v.Iter)
		return value.Array(list), err
	case ast.Set:
		list, err := fromTerms(v.Iter)
		return value.NewSet(list), err
	case ast.Object:
		var object value.Object
		err := v.Iter(func(key, of *ast.Term) error {
			k, kerr := fromTerm(key)
			v, verr := fromTerm(of)
			object = append(object, value.Member{Key: k, Value: v})
			return errors.Join(kerr, verr)
		})
		return object, err
	}
	return nil, fmt.Errorf("a builtin gave a %T", t.Value)
}

func fromTerms(each func(func(*ast.Term) error) error) (list []value.Value, err error) {
	err = each(func(t *ast.Term) error {
		v, err := fromTerm(t)
		list = append(list, v)
		return err
	})
	return list, err
}
