package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

func newPolicyInspect() *cobra.Command {
	var out outputs
	cmd := &cobra.Command{
		Use:   "inspect FILE|DIR",
		Short: "tell what is in a bundle",
		Example: `  secretcheck policy inspect policy.tar.gz
  secretcheck policy inspect policy/ --format json`,
		Long: `Tell what a bundle, or a folder built in memory, is and holds: name, revision and
end by the signature beside it, digests and sizes, grants and rules, and what its
smoke requests cost. Signatures are not verified here; policy verify does that.

exit codes: 5 policy error, 4 bad usage, 0 it was read`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("secretcheck policy inspect FILE|DIR", "policy inspect takes one bundle or folder")
			}
			if err := out.valid(); err != nil {
				return err
			}
			r, err := inspect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return out.writeEither(cmd.OutOrStdout(), r, r.pretty)
		},
	}
	cmd.Flags().SortFlags = false
	out.register(cmd.Flags(), formatNames)
	return cmd
}

// inspection is the JSON form, an interface.
type inspection struct {
	SchemaVersion int           `json:"schema_version"`
	Policy        string        `json:"policy"`
	Name          string        `json:"name"`           // of the manifest; empty where it has none
	Content       string        `json:"content"`        // what the manifest calls the revision: it names the sources
	Digest        string        `json:"digest"`         // what audit logs record as the policy in force
	ArchiveBytes  int           `json:"archive_bytes"`  // 0 for a folder
	ArchiveSHA256 string        `json:"archive_sha256"` // empty for a folder
	WasmBytes     int           `json:"wasm_bytes"`
	DataBytes     int           `json:"data_bytes"`
	MemoryBytes   int64         `json:"memory_bytes"` // at the start
	Builtins      []string      `json:"builtins"`     // that it wants of its host
	Services      int           `json:"services"`
	Grants        int           `json:"grants"`
	DefaultRules  bool          `json:"default_rules"`
	Rules         []listedRule  `json:"rules"` // of its own
	Smoke         []smokeResult `json:"smoke"`
	MostFuel      int64         `json:"most_fuel"`  // of those
	FuelLimit     int64         `json:"fuel_limit"` // of a service that sets none
	Signature     *unverified   `json:"signature"`  // null where there is none
}

type listedRule struct {
	Name string `json:"name"`
	File string `json:"file"`
	Line int    `json:"line"`
}

type smokeResult struct {
	Name  string `json:"name"`
	Allow bool   `json:"allow"`
	Fuel  int64  `json:"fuel"` // 0 where the input is not one that a service writes
}

// unverified is what a signature says; nobody has checked it.
type unverified struct {
	Name     string `json:"name"`
	Revision uint64 `json:"revision"`
	NotAfter string `json:"not_after"`
	Verified bool   `json:"verified"` // false
}

// fuelLimit is the default of policy.Limits.Fuel.
const fuelLimit = 50_000_000

func inspect(ctx context.Context, path string) (*inspection, error) {
	bundle, archive, err := readPolicy(ctx, path)
	if err != nil {
		return nil, err
	}
	facts, err := policy.Inspect(ctx, bundle, policy.Options{Interpreter: true, Limits: patient()})
	if err != nil {
		return nil, unusable(path, err)
	}
	r := &inspection{
		SchemaVersion: 1, Policy: path, Name: bundle.Manifest.Metadata.Name, Content: facts.Info.Revision, Digest: facts.Info.Digest,
		WasmBytes: facts.WasmBytes, DataBytes: facts.DataBytes, MemoryBytes: facts.Module.StartBytes, Builtins: some(facts.Builtins),
		DefaultRules: !rego.ReplacesDefaults(bundle), Rules: []listedRule{}, FuelLimit: fuelLimit, Signature: beside(path),
	}
	if grants, err := policy.ParseGrants(bundle.Data); err == nil { // rules of one's own may have other data
		for _, list := range grants.Services {
			r.Services, r.Grants = r.Services+1, r.Grants+len(list)
		}
	}
	if archive != nil {
		r.ArchiveBytes, r.ArchiveSHA256 = len(archive), fmt.Sprintf("%x", sha256.Sum256(archive))
	}
	rules, err := rego.Outline(bundle)
	if err != nil {
		return nil, unusable(path, err)
	}
	for _, rule := range rules {
		if !rule.Default {
			r.Rules = append(r.Rules, listedRule{rule.Name, rule.File, rule.Line})
		}
	}
	return r, r.addSmoke(ctx, path, bundle)
}

// addSmoke tells what the bundle's own requests cost. That it judges them as they say, opening it has shown.
func (r *inspection) addSmoke(ctx context.Context, path string, b *policy.Bundle) error {
	r.Smoke = []smokeResult{}
	engine, err := policy.Open(ctx, b, policy.Options{Interpreter: true, Limits: patient()})
	if err != nil {
		return unusable(path, err)
	}
	defer engine.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	for _, c := range smokeCases(b) {
		s := smokeResult{Name: c.Name, Allow: c.Allow}
		if request, err := recorded.Request(c.Input); err == nil {
			cost, err := engine.Worst(ctx, request)
			if err != nil {
				return unusable(path, err)
			}
			s.Fuel = cost.Fuel
		}
		r.MostFuel = max(r.MostFuel, s.Fuel)
		r.Smoke = append(r.Smoke, s)
	}
	return nil
}

type smokeCase struct {
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
	Allow bool            `json:"allow"`
}

// smokeCases reads a smoke.json that opening the bundle has accepted.
func smokeCases(b *policy.Bundle) []smokeCase {
	var file struct {
		Cases []smokeCase `json:"cases"`
	}
	_ = json.Unmarshal(b.Smoke, &file) // none where there is no file
	return file.Cases
}

// beside is what the signature beside a bundle says.
func beside(path string) *unverified {
	s := (&signing{file: path}).before()
	if s == (policy.Statement{}) {
		return nil
	}
	return &unverified{Name: s.Name, Revision: s.Revision, NotAfter: s.NotAfter.UTC().Format(time.RFC3339)}
}

func (r *inspection) pretty(w io.Writer) error {
	var b bytes.Buffer
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name, report.Text(fmt.Sprintf(format, args...)))
	}
	row("policy", "%s", r.Policy)
	if r.Name != "" {
		row("name", "%s", r.Name)
	}
	if s := r.Signature; s != nil {
		row("signature", "policy %s, revision %d, until %s; not verified here", s.Name, s.Revision, s.NotAfter)
	} else {
		row("signature", "none")
	}
	row("content", "%s", r.Content)
	row("digest", "%s", r.Digest)
	if r.ArchiveBytes > 0 {
		row("archive", "%d bytes, sha256 %s", r.ArchiveBytes, r.ArchiveSHA256)
	}
	row("size", "%d bytes of Wasm, %d of data, %d of memory at the start", r.WasmBytes, r.DataBytes, r.MemoryBytes)
	if len(r.Builtins) > 0 {
		row("builtins", "%s", strings.Join(r.Builtins, ", "))
	}
	row("grants", "%d, of %d services", r.Grants, r.Services)
	if r.DefaultRules {
		row("rules", "the default ones, and %d of its own", len(r.Rules))
	} else {
		row("rules", "%d of its own, none of the default ones", len(r.Rules))
	}
	for _, rule := range r.Rules {
		row("", "%s:%d: %s", rule.File, rule.Line, rule.Name)
	}
	row("smoke", "%d requests; the costliest takes %d of %d units of fuel", len(r.Smoke), r.MostFuel, r.FuelLimit)
	for _, s := range r.Smoke {
		row("", "%s: %s, %d units", map[bool]string{true: "allowed", false: "denied"}[s.Allow], s.Name, s.Fuel)
	}
	_, err := w.Write(b.Bytes())
	return err
}
