package main

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

var writeSchema = flag.Bool("write-schema", false, "write docs/schema/config.schema.json")

const configSchema = "../../docs/schema/config.schema.json"

// TestCHK1146Schema: CHK-1146. The published schema of the config file has what check takes, and nothing else.
func TestCHK1146Schema(t *testing.T) {
	text := map[string]any{"type": "string"}
	list := map[string]any{"anyOf": []any{text, map[string]any{"type": "array", "items": text}}}
	properties := map[string]any{"paths": map[string]any{"description": "what is checked where the command line names nothing", "anyOf": list["anyOf"]}}
	flags := newCheck().Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(unconfigured(), f.Name) {
			return
		}
		_, usage := pflag.UnquoteUsage(f)
		p := map[string]any{"description": usage, "type": "string"}
		if f.Value.Type() == "bool" {
			p["type"] = "boolean"
		}
		if _, many := f.Value.(pflag.SliceValue); many {
			delete(p, "type")
			p["anyOf"] = list["anyOf"]
		}
		properties[f.Name] = p
	})
	want, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The config file of secretcheck check", "type": "object",
		"additionalProperties": false, "properties": properties,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *writeSchema {
		if err := os.WriteFile(configSchema, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(configSchema); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what check takes: go test ./cmd/secretcheck -run TestCHK1146Schema -args -write-schema (%v)", configSchema, err)
	}
}
