package rego

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/builtins"
	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// verdict is the result of the decision entrypoint.
type verdict struct {
	Allow       bool     `json:"allow"`
	Reasons     []reason `json:"reasons"`
	Obligations struct {
		MaxBytes  int64  `json:"max_bytes"`
		MinLength int64  `json:"min_length"`
		MinMemory string `json:"min_memory"`
	} `json:"obligations"`
	Grants []string `json:"grants"`
}

type reason struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Severity string `json:"severity"`
	Fix      string `json:"fix"`
}

func (v verdict) codes() []string {
	var codes []string
	for _, r := range v.Reasons {
		codes = append(codes, r.Code)
	}
	return codes
}

// rules is the default policy, over some grants and perhaps a site's modules: in OPA's own evaluator, and compiled in the
// sandbox that services run. Whatever a test asks, it asks both, and they must agree.
type rules struct {
	decision, mayAsk oparego.PreparedEvalQuery
	wasm             *sandbox.Program
}

func defaultRules(t testing.TB, grants string, site ...string) rules {
	t.Helper()
	sources := map[string][]byte{}
	for _, module := range site {
		sources["site.rego"] = []byte(module)
	}
	modules, err := parse(sources)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addDefaults(sources, modules); err != nil {
		t.Fatal(err)
	}
	return rules{
		prepare(t, "data.secrets.load.decision", modules, grants), prepare(t, "data.secrets.load.may_ask", modules, grants),
		sandboxed(t, modules, grants),
	}
}

// sandboxed compiles modules as Build does. The sandbox takes any input, where the engine on top has typed requests.
func sandboxed(t testing.TB, modules map[string]*ast.Module, data string) *sandbox.Program {
	t.Helper()
	wasm, err := toWasm(context.Background(), modules)
	if err != nil {
		t.Fatal(err)
	}
	// What a busy machine takes, and texts longer than a service sends, are not what these tests are about.
	limits, err := sandbox.Limits{Deadline: 10 * time.Second, InputBytes: 4 << 20, Fuel: 1_000_000_000}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	p, err := sandbox.Open(context.Background(), wasm, []byte(data), sandbox.Config{Limits: limits, Builtins: builtins.All()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func prepare(t testing.TB, query string, modules map[string]*ast.Module, data string) oparego.PreparedEvalQuery {
	t.Helper()
	args := []func(*oparego.Rego){
		oparego.Query(query), oparego.Store(inmem.NewFromObject(object(t, data))), oparego.Capabilities(capabilities()),
	}
	for _, module := range modules {
		args = append(args, oparego.ParsedModule(module))
	}
	q, err := oparego.New(args...).PrepareForEval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// decide evaluates the decision. ok is false where there is no verdict at all, which the engine denies.
func (r rules) decide(t testing.TB, input any) (v verdict, raw any, ok bool) {
	t.Helper()
	opa, wasm := r.evaluate(t, r.decision, policy.EntrypointDecision, input)
	if len(opa) != len(wasm) || len(opa) > 1 {
		t.Fatalf("on %.2000s: %d results of OPA, %d of the sandbox", fmt.Sprint(input), len(opa), len(wasm))
	}
	if len(opa) == 0 {
		return verdict{}, nil, false
	}
	var there verdict
	remarshal(t, opa[0], &there)
	remarshal(t, wasm[0], &v)
	if !reflect.DeepEqual(v, there) {
		t.Fatalf("on %.2000s: OPA says %+v, the sandbox %+v", fmt.Sprint(input), there, v)
	}
	return v, wasm[0], true
}

func (r rules) ask(t testing.TB, input any) bool {
	t.Helper()
	opa, wasm := r.evaluate(t, r.mayAsk, policy.EntrypointMayAsk, input)
	if !reflect.DeepEqual(opa, wasm) || len(wasm) > 1 {
		t.Fatalf("on %.2000s: may_ask is %v in OPA, %v in the sandbox", fmt.Sprint(input), opa, wasm)
	}
	return len(wasm) == 1 && wasm[0] == true
}

// evaluate returns the results of both evaluators.
func (r rules) evaluate(t testing.TB, query oparego.PreparedEvalQuery, entrypoint string, input any) (opa, wasm []any) {
	t.Helper()
	results, err := query.Eval(context.Background(), oparego.EvalInput(input))
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		opa = append(opa, result.Expressions[0].Value)
	}
	inst, err := r.wasm.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if inst.Input, err = json.Marshal(input); err != nil {
		t.Fatal(err)
	}
	raw, err := inst.Evaluate(context.Background(), entrypoint)
	var there []struct{ Result any }
	if err == nil {
		err = json.Unmarshal(raw, &there)
	}
	r.wasm.Release(inst, err == nil)
	if err != nil {
		t.Fatalf("on %.2000s: %v", fmt.Sprint(input), err)
	}
	for _, result := range there {
		wasm = append(wasm, result.Result)
	}
	return opa, wasm
}

func remarshal(t testing.TB, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// object decodes JSON as OPA wants it.
func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
