package rego

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	_ "github.com/open-policy-agent/opa/v1/features/wasm" // for inWasm
	oparego "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
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

// rules is the default policy in OPA's own evaluator, over some grants and perhaps a site's modules.
type rules struct{ decision, mayAsk oparego.PreparedEvalQuery }

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
		prepare(t, "data.secrets.load.decision", modules, grants, "rego"),
		prepare(t, "data.secrets.load.may_ask", modules, grants, "rego"),
	}
}

// inWasm is the default policy as Wasm, in OPA's own sandbox: that takes any input, ours only typed requests.
func inWasm(t testing.TB, grants string) rules {
	t.Helper()
	modules, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := addDefaults(nil, modules); err != nil {
		t.Fatal(err)
	}
	return rules{
		prepare(t, "data.secrets.load.decision", modules, grants, "wasm"),
		prepare(t, "data.secrets.load.may_ask", modules, grants, "wasm"),
	}
}

func prepare(t testing.TB, query string, modules map[string]*ast.Module, data, target string) oparego.PreparedEvalQuery {
	t.Helper()
	args := []func(*oparego.Rego){
		oparego.Query(query), oparego.Store(inmem.NewFromObject(object(t, data))), oparego.Capabilities(capabilities()),
		oparego.Target(target),
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
	results, err := r.decision.Eval(context.Background(), oparego.EvalInput(input))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) == 0 {
		return verdict{}, nil, false
	}
	raw = results[0].Expressions[0].Value
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v, raw, true
}

func (r rules) ask(t testing.TB, input any) bool {
	t.Helper()
	results, err := r.mayAsk.Eval(context.Background(), oparego.EvalInput(input))
	if err != nil {
		t.Fatal(err)
	}
	return results.Allowed()
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
