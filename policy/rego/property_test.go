package rego

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// wrong returns values of every JSON type, fresh ones: a request changes what it holds.
func wrong() []any {
	return []any{
		nil, true, false, 0.0, 1.0, -1.0, 4294967294.0, 1e15, "", "x", "/etc/llorch/secrets/api-token", []any{}, []any{0.0}, map[string]any{},
	}
}

// fields lists every member of a request, objects too, by dotted path.
func fields(in map[string]any, prefix string) []string {
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		paths = append(paths, prefix+name)
		if inner, ok := in[name].(map[string]any); ok {
			paths = append(paths, fields(inner, prefix+name+".")...)
		}
	}
	return paths
}

// contract is the type of each field.
func contract(t testing.TB) map[string]string {
	t.Helper()
	types, in := map[string]string{}, fileRequest(t)
	for _, path := range fields(in, "") {
		parent, last := at(in, path)
		types[path] = fmt.Sprintf("%T", parent[last])
	}
	return types
}

// spoilt lists copies of a request in which one field is gone, null, an object or of another type that it must not have;
// of the values of those other types every nth is taken.
func spoilt(in map[string]any, path, must string, nth int) map[string]map[string]any {
	copies := map[string]map[string]any{path + " removed": clone(in)}
	remove(copies[path+" removed"], path)
	for i, value := range wrong() {
		_, object := value.(map[string]any)
		if fmt.Sprintf("%T", value) == must || value != nil && !object && (i+len(path))%nth != 0 {
			continue
		}
		name := fmt.Sprintf("%s = %#v", path, value)
		copies[name] = clone(in)
		set(copies[name], path, value)
	}
	return copies
}

func clone(in map[string]any) map[string]any {
	out := maps.Clone(in)
	for name, value := range out {
		if inner, ok := value.(map[string]any); ok {
			out[name] = clone(inner)
		}
	}
	return out
}

// TestOneLostFactNeverAllows spoils every field of every violation: exactly one fact denies there, so a rule that
// reads a missing fact as harmless shows.
func TestOneLostFactNeverAllows(t *testing.T) {
	r, types := defaultRules(t, testGrants), contract(t)
	tried := 0
	for _, v := range violations {
		t.Run("POL-1002/"+v.name, func(t *testing.T) {
			in := violating(t, v.base, v.changes)
			for _, path := range fields(in, "") {
				if v.base != "rollout" && strings.HasPrefix(path, "resource.origin_file.") {
					continue // for the sake of time; the random requests below have them
				}
				for name, broken := range spoilt(in, path, types[path], 6) {
					tried++
					if got, _, _ := r.decide(t, broken); got.Allow {
						t.Errorf("%s allows: %+v", name, got)
					}
					if v.code == "no_grant" && r.ask(t, broken) {
						t.Errorf("%s may be asked for", name)
					}
				}
			}
		})
	}
	if tried < 10_000 {
		t.Errorf("tried %d requests only", tried)
	}
}

// drawn changes some fields of a request to values that make sense somewhere, or to nonsense.
func drawn(t *rapid.T, bases map[string]map[string]any) map[string]any {
	in := clone(bases[rapid.SampledFrom(slices.Sorted(maps.Keys(bases))).Draw(t, "base")])
	all := fields(in, "")
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		v := rapid.SampledFrom(violations).Draw(t, "violation")
		for path, value := range v.changes {
			set(in, path, value)
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "spoilt") {
		path := rapid.SampledFrom(all).Draw(t, "path")
		if parent, last, ok := reach(in, path); ok {
			parent[last] = rapid.SampledFrom(wrong()).Draw(t, "value")
		}
	}
	return in
}

// reach is at for a request that may be spoilt already.
func reach(in map[string]any, dotted string) (map[string]any, string, bool) {
	parts := strings.Split(dotted, ".")
	for _, part := range parts[:len(parts)-1] {
		inner, ok := in[part].(map[string]any)
		if !ok {
			return nil, "", false
		}
		in = inner
	}
	return in, parts[len(parts)-1], true
}

// TestAnyVerdictIsWellFormed: thousands of requests, sound and broken, on which both evaluators agree.
func TestAnyVerdictIsWellFormed(t *testing.T) {
	r, schema, bases, types := defaultRules(t, testGrants), compiled(t, "result.json"), requests(t), contract(t)
	var allowed, denied, broken int
	t.Run("POL-1002 POL-3030", rapid.MakeCheck(func(rt *rapid.T) {
		for range 40 {
			in := drawn(rt, bases)
			got, raw, ok := r.decide(t, in)
			if !ok {
				rt.Fatalf("no verdict on %v", in)
			}
			if err := schema.Validate(raw); err != nil {
				rt.Fatalf("%v: %v", raw, err)
			}
			refusing := slices.ContainsFunc(got.Reasons, func(why reason) bool { return why.Severity == "error" })
			if got.Allow == refusing {
				rt.Fatalf("allow %v beside %+v", got.Allow, got.Reasons)
			}
			if may := r.ask(t, in); got.Allow && !may {
				rt.Fatal("allowed, but it may not be asked for")
			}
			switch {
			case !whole(in, types):
				broken++
			case got.Allow:
				allowed++
			default:
				denied++
			}
		}
	}))
	if n := allowed + denied + broken; n < 4000 || allowed < 100 || denied < 100 || broken < 100 {
		t.Errorf("%d allowed, %d denied and %d broken: too few of some", allowed, denied, broken)
	}
}

// whole reports whether every field of a request is there and of its type.
func whole(in map[string]any, types map[string]string) bool {
	for path, must := range types {
		parent, last, ok := reach(in, path)
		if !ok || fmt.Sprintf("%T", parent[last]) != must {
			return false
		}
	}
	return true
}

func TestSpoilingARefusedRequestNeverAllows(t *testing.T) {
	r, bases, types := defaultRules(t, testGrants), requests(t), contract(t)
	t.Run("POL-1002", rapid.MakeCheck(func(rt *rapid.T) {
		in := rapid.Custom(func(rt *rapid.T) map[string]any { return drawn(rt, bases) }).Filter(func(in map[string]any) bool {
			got, _, _ := r.decide(t, in)
			return !got.Allow
		}).Draw(rt, "refused")
		path := rapid.SampledFrom(fields(in, "")).Draw(rt, "field")
		for name, broken := range spoilt(in, path, types[path], 1) {
			if got, _, _ := r.decide(t, broken); got.Allow {
				rt.Fatalf("%s allows %v", name, in)
			}
		}
	}))
}
