package rego

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"github.com/llorch/secrets-management/policy"
)

// noGrants is the data of a policy that comes without.
const noGrants = `{"secrets":{"services":{}}}`

// Build compiles a policy. When its modules do not define the verdict, data.secrets.load.decision and may_ask, the
// default rules are added and the data must be grants as [policy.ParseGrants] takes them. Equal sources give equal
// bundles. Its errors match [ErrSource]; those about Rego, and those about broken JSON, name file, line and column.
func Build(ctx context.Context, src Source) (*policy.Bundle, error) {
	module := toWasm
	if len(src.Modules) == 0 {
		module = embedded // what the default rules compile to, see TestEmbeddedDefaultIsFresh
	}
	b, _, err := build(ctx, src, module)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, positioned(&src, err))
	}
	return b, nil
}

// embedded is the module of the default rules.
func embedded(context.Context, map[string]*ast.Module) ([]byte, error) {
	b, err := policy.DefaultBundle([]byte(noGrants))
	if err != nil {
		return nil, err
	}
	return b.Wasm, nil
}

// Default compiles the default rules without any grant: nothing may be loaded.
func Default(ctx context.Context) (*policy.Bundle, error) {
	b, _, err := build(ctx, Source{Name: "default"}, toWasm)
	return b, err
}

// ReplacesDefaults reports whether a bundle was built from a policy that defines the verdict itself, so that nothing of
// the default rules holds in it.
func ReplacesDefaults(b *policy.Bundle) bool {
	for name := range b.Rego {
		if strings.HasPrefix(name, defaultDir) {
			return false
		}
	}
	return true
}

// build also returns the compiler that has accepted the modules. module makes Wasm of them.
func build(ctx context.Context, src Source, module func(context.Context, map[string]*ast.Module) ([]byte, error)) (*policy.Bundle, *ast.Compiler, error) {
	if src.Data == nil {
		src.Data = []byte(noGrants)
	}
	modules, err := parse(src.Modules)
	if err != nil {
		return nil, nil, err
	}
	own, err := replacesDefaults(modules)
	if err != nil {
		return nil, nil, err
	}
	sources := maps.Clone(src.Modules)
	if !own {
		if errs := malformedReasons(modules); len(errs) > 0 {
			return nil, nil, errs
		}
		if sources, err = addDefaults(sources, modules); err != nil {
			return nil, nil, err
		}
		if _, err := policy.ParseGrants(src.Data); err != nil {
			return nil, nil, dataError(&src, err)
		}
	}
	compiler, err := checkRules(modules, src.Modules)
	if err != nil {
		return nil, nil, err
	}
	wasm, err := module(ctx, modules)
	if err != nil {
		return nil, nil, err
	}
	b := &policy.Bundle{
		Wasm: wasm, Data: src.Data, Rego: sources, Smoke: src.Smoke,
		Manifest: policy.NewManifest(src.Name, revision(sources, src.Data)),
	}
	if _, err := b.Marshal(); err != nil {
		return nil, nil, dataError(&src, err)
	}
	return b, compiler, nil
}

// dataError puts the place of broken JSON where an editor looks for it.
func dataError(src *Source, err error) error {
	var fault *policy.JSONError
	switch {
	case errors.As(err, &fault):
		file := fault.File
		if file == "" {
			file = dataFile
		}
		return &placedError{fmt.Sprintf("%s:%d:%d: %s", src.place(file), fault.Line, fault.Column, fault.Reason), err}
	case errors.Is(err, policy.ErrGrants):
		return fmt.Errorf("%s: %w", src.place(dataFile), err)
	}
	return err
}

// placedError says the same as its cause, with the place in front.
type placedError struct {
	text  string
	cause error
}

func (e *placedError) Error() string { return e.text }
func (e *placedError) Unwrap() error { return e.cause }

// checkRules compiles the modules the way their author should hear about: strictly, against the input's schema, and with
// every rule of theirs in use.
func checkRules(modules map[string]*ast.Module, own map[string][]byte) (*ast.Compiler, error) {
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		errs = append(errs, misplaced(modules[name])...)
		errs = append(errs, unavailable(modules[name])...)
	}
	if errs = append(errs, merged(modules, own)...); len(errs) > 0 {
		return nil, errs
	}
	compiler, err := compiler()
	if err != nil {
		return nil, err
	}
	if compiler.Compile(modules); compiler.Failed() {
		return nil, compiler.Errors
	}
	errs = unused(compiler, own)
	if len(modules) > len(own) {
		errs = append(errs, undefined(compiler, own)...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return compiler, nil
}

// compiler returns a compiler that knows the contract.
func compiler() (*ast.Compiler, error) {
	raw, err := schemas.ReadFile("schemas/input.json")
	if err != nil {
		return nil, err
	}
	var schema any
	if err := json.Unmarshal(raw, &schema); err != nil {
		return nil, fmt.Errorf("schemas/input.json: %w", err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities()).WithSchemas(set), nil
}

// toWasm compiles modules that are known to be good to what services run.
func toWasm(ctx context.Context, modules map[string]*ast.Module) ([]byte, error) {
	return wasmOf(ctx, modules, "secrets", policy.EntrypointDecision, policy.EntrypointMayAsk)
}

// wasmOf compiles modules beneath a root of data to a module that answers the entrypoints.
func wasmOf(ctx context.Context, modules map[string]*ast.Module, root string, entrypoints ...string) ([]byte, error) {
	if os.Getenv("EXPERIMENTAL_WASM_OPT") != "" || os.Getenv("EXPERIMENTAL_WASM_OPT_ARGS") != "" {
		return nil, errors.New("EXPERIMENTAL_WASM_OPT is set: OPA would have another program rewrite the policy")
	}
	in := &bundle.Bundle{Data: map[string]any{}, Manifest: bundle.Manifest{Roots: &[]string{root}}}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		in.Modules = append(in.Modules, bundle.ModuleFile{URL: name, Path: name, Parsed: modules[name]})
	}
	in.SetRegoVersion(ast.RegoV1)
	c := compile.New().
		WithTarget(compile.TargetWasm).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		WithEntrypoints(entrypoints...).
		WithBundle(in)
	if err := c.Build(ctx); err != nil {
		return nil, err
	}
	out := c.Bundle().WasmModules
	if len(out) != 1 {
		return nil, fmt.Errorf("OPA compiled %d modules, want 1", len(out))
	}
	return out[0].Raw, nil
}

// revision names the sources by their content.
func revision(modules map[string][]byte, data []byte) string {
	text := fmt.Appendf(nil, "%q", data)
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		text = fmt.Appendf(text, "\n%q %q", name, modules[name])
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
