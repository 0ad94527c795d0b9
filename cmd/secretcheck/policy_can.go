package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

func newPolicyCan() *cobra.Command {
	var path, kind string
	cmd := &cobra.Command{
		Use:   "can SERVICE",
		Short: "list what a service may ask for",
		Example: `  secretcheck policy can queen-rbee --policy policy/
  secretcheck policy can queen-rbee --policy policy.tar.gz --format json`,
		Long: `List the grants of a service. A grant says what may be asked for; the load
succeeds only if the file is in order as well, which check tells.

exit codes: 5 policy error, 4 bad usage, 1 nothing is granted, 0 something is`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyCan(cmd, args, path, kind)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&path, "policy", "", "look in the policy in `DIR|FILE`: rules and grants, or a bundle")
	flags.StringVar(&kind, "format", "pretty", "write the list as `F`, "+formatNames)
	return cmd
}

func runPolicyCan(cmd *cobra.Command, args []string, path, kind string) error {
	const hint = "secretcheck policy can --help"
	switch {
	case len(args) != 1:
		return usage(hint, "policy can takes one service")
	case path == "":
		return noPolicy()
	case format(kind) == nil:
		return usage("--format takes "+formatNames, "unknown format %q", kind)
	}
	bundle, err := working(cmd, elapsed("reading "+path), func() (*policy.Bundle, error) { return loadPolicy(cmd.Context(), path) })
	if err != nil {
		return err
	}
	all, err := policy.ParseGrants(bundle.Data)
	if err != nil {
		return unusable(path, err)
	}
	grants := all.Services[args[0]]
	if kind == "json" {
		err = report.Value(cmd.OutOrStdout(), canReport{1, args[0], listed(grants)})
	} else if len(grants) > 0 {
		_, err = cmd.OutOrStdout().Write(canPretty(args[0], grants))
	}
	if err != nil {
		return usage(stdoutHint, "output: %w", err)
	}
	if len(grants) == 0 {
		return &failure{exitDenied, fmt.Errorf("nothing is granted to service %q", args[0]), didYouMean(args[0], slices.Sorted(maps.Keys(all.Services)), "grants are in data.json of the policy, under secrets.services")}
	}
	return nil
}

// canReport is the JSON form, an interface.
type canReport struct {
	SchemaVersion int         `json:"schema_version"`
	Service       string      `json:"service"`
	Grants        []listGrant `json:"grants"`
}

type listGrant struct {
	ID        string          `json:"id"`
	Actions   []policy.Action `json:"actions"`
	Source    policy.Source   `json:"source"`
	Paths     []string        `json:"paths"`
	Dirs      []string        `json:"dirs"`
	Names     []string        `json:"names"`
	Purposes  []string        `json:"purposes"`
	Relaxed   []string        `json:"relaxed"`
	Required  []string        `json:"required"`
	MinLength int64           `json:"min_length"`
	MaxBytes  int64           `json:"max_bytes"`
	MinMemory policy.Memory   `json:"min_memory"`
}

func listed(grants []policy.Grant) []listGrant {
	list := make([]listGrant, 0, len(grants))
	for _, g := range grants {
		list = append(list, listGrant{
			g.ID, append([]policy.Action{}, g.Actions...), g.Source, some(g.Paths), some(g.Dirs), some(g.Names),
			some(g.Purposes), relaxed(g.Relax), required(g.Require), g.MinLength, g.MaxBytes, g.MinMemory,
		})
	}
	return list
}

// some is the list, never null.
func some(list []string) []string { return append([]string{}, list...) }

// relaxed names what a grant loosens.
func relaxed(r policy.Relax) []string {
	list := []string{}
	if r.Owner != nil {
		list = append(list, "uid "+strconv.FormatInt(*r.Owner, 10)+" may own, change and replace the file")
	}
	if r.GroupRead != nil {
		list = append(list, "group "+strconv.FormatInt(*r.GroupRead, 10)+" may read the file")
	}
	if r.WorldRead {
		list = append(list, "everyone may read the file")
	}
	if r.Symlink {
		list = append(list, "the path may end in a symbolic link")
	}
	if r.Filesystem != "" {
		list = append(list, "file system "+r.Filesystem+" is trusted")
	}
	return list
}

// required says who the service must be.
func required(r policy.Require) []string {
	list := []string{}
	if r.UID != nil {
		list = append(list, "running as uid "+strconv.FormatInt(*r.UID, 10))
	}
	if r.Unit != "" {
		list = append(list, "running as unit "+r.Unit)
	}
	return list
}

func canPretty(service string, grants []policy.Grant) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s may, if the file is in order,\n", report.Text(service))
	for _, g := range grants {
		for _, a := range g.Actions {
			fmt.Fprintf(&b, "  %-11s  %s\n", a, reference(g))
			for _, line := range conditions(g, a) {
				fmt.Fprintf(&b, "               %s\n", report.Text(line))
			}
		}
	}
	return b.Bytes()
}

// reference names the secrets of a grant as their owner would.
func reference(g policy.Grant) string {
	noun := map[policy.Source]string{policy.SourceCredential: "credential", policy.SourceEnv: "variable", policy.SourceFile: "file"}[g.Source]
	names := g.Names
	if g.Source == policy.SourceFile {
		names = places(g)
	}
	return report.Text(noun + " " + strings.Join(names, ", "))
}

func places(g policy.Grant) []string {
	list := some(g.Paths)
	for _, d := range g.Dirs {
		list = append(list, "everything below "+d)
	}
	return list
}

func conditions(g policy.Grant, a policy.Action) []string {
	var lines []string
	if g.Source == policy.SourceCredential && len(g.Paths)+len(g.Dirs) > 0 {
		lines = append(lines, "copied from "+strings.Join(places(g), ", "))
	}
	if a == policy.DeriveKey {
		lines = append(lines, "for the purpose "+strings.Join(g.Purposes, ", "))
	}
	lines = append(append(lines, required(g.Require)...), relaxed(g.Relax)...)
	if g.MinLength > 0 {
		lines = append(lines, fmt.Sprintf("at least %d bytes long", g.MinLength))
	}
	if g.MaxBytes > 0 {
		lines = append(lines, fmt.Sprintf("at most %d bytes long", g.MaxBytes))
	}
	if g.MinMemory != "" {
		lines = append(lines, "into memory of kind "+string(g.MinMemory)+" or better")
	}
	return append(lines, "grant "+g.ID)
}
