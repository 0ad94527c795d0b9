package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/llorch/secrets-management/policy"
)

// ErrNoSources is matched when a bundle does not hold the Rego that it was compiled from.
var ErrNoSources = errors.New("the bundle holds no Rego sources")

// Explanation is how OPA's own evaluator comes to its answers, from the sources that a bundle brings along.
type Explanation struct {
	MayAsk   bool
	Decision []byte // the JSON of the decision; nil where it is undefined
	Rules    []Rule // that the evaluation of the decision came by, in order
	Trace    []string
}

// Rule is a rule of a policy, or a function, with its place in the sources of the bundle.
type Rule struct {
	Name         string
	File         string
	Line, Column int
	Function     bool
	Held         bool // it gave a value at least once; of a function, any of its definitions did
}

// Explain evaluates a request with OPA's topdown, which is not what services run: whoever shows the result compares it with
// that of the engine. With trace, every step of the decision is in it. It is for requests that the engine has accepted. The
// error matches [ErrNoSources] or [ErrSource], or is that of ctx.
func Explain(ctx context.Context, b *policy.Bundle, r *policy.Request, trace bool) (*Explanation, error) {
	if len(b.Rego) == 0 {
		return nil, ErrNoSources
	}
	e, err := newEvaluator(ctx, b, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	defer e.store.Abort(ctx, e.txn)
	out := &Explanation{}
	ask, err := e.query(ctx, "data.secrets.load.may_ask", e.reference, nil)
	if err != nil {
		return nil, err
	}
	out.MayAsk = ask != nil && ask.Compare(ast.Boolean(true)) == 0
	steps := topdown.NewBufferTracer()
	decision, err := e.query(ctx, "data.secrets.load.decision", e.input, steps)
	if err != nil {
		return nil, err
	}
	if decision != nil {
		value, err := ast.JSON(decision)
		if err != nil {
			return nil, err
		}
		if out.Decision, err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	out.Rules = rulesOf(*steps)
	if trace {
		var text bytes.Buffer
		topdown.PrettyTraceWithLocation(&text, *steps)
		out.Trace = strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	}
	return out, nil
}

// evaluator is one request with the policy and its data.
type evaluator struct {
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction

	input     *ast.Term // of the decision
	reference *ast.Term // what may_ask is shown of it
}

func newEvaluator(ctx context.Context, b *policy.Bundle, r *policy.Request) (*evaluator, error) {
	modules, err := parse(b.Rego)
	if err != nil {
		return nil, err
	}
	e := &evaluator{compiler: ast.NewCompiler().WithCapabilities(capabilities())}
	if e.compiler.Compile(modules); e.compiler.Failed() {
		return nil, e.compiler.Errors
	}
	data := map[string]any{}
	if b.Data != nil {
		d := json.NewDecoder(bytes.NewReader(b.Data))
		d.UseNumber()
		if err := d.Decode(&data); err != nil {
			return nil, err
		}
	}
	raw, err := r.MarshalJSON()
	if err != nil {
		return nil, err
	}
	reference, err := referenceOf(raw)
	if err != nil {
		return nil, err
	}
	if e.input, err = ast.ParseTerm(string(raw)); err != nil {
		return nil, err
	}
	if e.reference, err = ast.ParseTerm(string(reference)); err != nil {
		return nil, err
	}
	e.store = inmem.NewFromObject(data)
	e.txn, err = e.store.NewTransaction(ctx)
	return e, err
}

// referenceOf takes the part of an input that may_ask is shown, as the engine does.
func referenceOf(input []byte) ([]byte, error) {
	var in struct {
		API      string          `json:"api"`
		Subject  json.RawMessage `json:"subject"`
		Action   string          `json:"action"`
		Resource struct {
			Source  string `json:"source"`
			Path    string `json:"path"`
			Name    string `json:"name"`
			Purpose string `json:"purpose"`
		} `json:"resource"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	return json.Marshal(in)
}

// query evaluates one rule; nil is undefined.
func (e *evaluator) query(ctx context.Context, name string, input *ast.Term, steps *topdown.BufferTracer) (ast.Value, error) {
	body, err := e.compiler.QueryCompiler().Compile(ast.MustParseBody("answer = " + name))
	if err != nil {
		return nil, err
	}
	cancel := topdown.NewCancel()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	q := topdown.NewQuery(body).WithCompiler(e.compiler).WithStore(e.store).WithTransaction(e.txn).WithInput(input).WithCancel(cancel)
	if steps != nil {
		q = q.WithQueryTracer(steps)
	}
	results, err := q.Run(ctx)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	for _, term := range results[0] {
		return term.Value, nil
	}
	return nil, nil
}

// rulesOf lists the rules that a trace came by.
func rulesOf(steps []*topdown.Event) []Rule {
	var list []Rule
	at := map[string]int{}
	for _, s := range steps {
		rule, ok := s.Node.(*ast.Rule)
		if !ok || rule.Location == nil || s.Op != topdown.EnterOp && s.Op != topdown.ExitOp {
			continue
		}
		function := len(rule.Head.Args) > 0
		name := strings.TrimPrefix(rule.Ref().GroundPrefix().String(), "data.")
		key := fmt.Sprintf("%s:%d", rule.Location.File, rule.Location.Row)
		if function {
			key = name
		}
		i, seen := at[key]
		if !seen {
			i = len(list)
			at[key] = i
			list = append(list, Rule{Name: name, File: rule.Location.File, Line: rule.Location.Row, Column: rule.Location.Col, Function: function})
		}
		if s.Op == topdown.ExitOp && !list[i].Held {
			list[i].Held, list[i].Line, list[i].Column = true, rule.Location.Row, rule.Location.Col
		}
	}
	return slices.Clip(list)
}
