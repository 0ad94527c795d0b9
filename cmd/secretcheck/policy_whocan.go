package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/probe"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

type whoCanFlags struct {
	policy      string
	environment string
	output      outputs
}

func newPolicyWhoCan() *cobra.Command {
	var f whoCanFlags
	cmd := &cobra.Command{
		Use:   "who-can PATH|NAME",
		Short: "list the services that may load a secret",
		Example: `  secretcheck policy who-can /etc/llorch/secrets/api-token --policy policy/
  secretcheck policy who-can api_token --policy policy.tar.gz --format json`,
		Long: `Ask the policy, for every service that has grants, whether it may load a file,
itself or as a credential that is copied from it, or a credential or variable of a
name. In a pattern * stands for any part of a name, and for what the grants name.
The file is taken to be in the best order; who can load it may also be able to
load it in a worse one: see policy can.

exit codes: 5 policy error, 4 bad usage, 1 nobody can, 0 somebody can`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyWhoCan(cmd, args, &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.policy, "policy", "", "ask the policy in `DIR|FILE`: rules and grants, or a bundle")
	flags.StringVar(&f.environment, "environment", "", "`NAME` of the environment, for site rules")
	f.output.register(flags, formatNames)
	return cmd
}

// whoCanReport is the JSON form, an interface.
type whoCanReport struct {
	SchemaVersion int               `json:"schema_version"`
	Policy        report.PolicyName `json:"policy"`
	Target        string            `json:"target"`
	Can           []canRow          `json:"can"`
}

type canRow struct {
	Service string        `json:"service"`
	Action  policy.Action `json:"action"`
	Source  policy.Source `json:"source"`
	Name    string        `json:"name"`
	Path    string        `json:"path"`
	Origin  string        `json:"origin"`
	Purpose string        `json:"purpose"`
	Who     string        `json:"who"` // what the service has to prove, in words
	Grants  []string      `json:"grants"`
}

func runPolicyWhoCan(cmd *cobra.Command, args []string, f *whoCanFlags) error {
	const hint = "secretcheck policy who-can --help"
	switch {
	case len(args) != 1 || args[0] == "":
		return usage(hint, "policy who-can takes one path or name")
	case f.policy == "":
		return noPolicy()
	case strings.HasPrefix(args[0], "/") && path.Clean(args[0]) != args[0]:
		return usage("services ask for clean paths: "+path.Clean(args[0]), "the path %q is not clean", args[0])
	}
	if _, err := path.Match(args[0], ""); err != nil {
		return usage(hint, "%q is not a pattern: %w", args[0], err)
	}
	if err := f.output.valid(); err != nil {
		return err
	}
	if err := f.output.spare(policyFiles(f.policy)); err != nil {
		return err
	}
	p, err := openNamed(cmd.Context(), f.policy, true)
	if err != nil {
		return err
	}
	defer p.engine.Close()
	grants, err := policy.ParseGrants(p.bundle.Data)
	if err != nil {
		return unusable(f.policy, err)
	}
	r := whoCanReport{SchemaVersion: 1, Policy: p.name, Target: args[0], Can: []canRow{}}
	r.Policy.Path = filepath.ToSlash(f.policy)
	line := newProgress(cmd.ErrOrStderr())
	defer line.end()
	for n, service := range slices.Sorted(maps.Keys(grants.Services)) {
		line.at("asked about %d of %d services", n, len(grants.Services))
		rows, err := canLoad(cmd.Context(), p, service, grants.Services[service], f.environment, args[0])
		if err != nil {
			return err
		}
		r.Can = append(r.Can, rows...)
	}
	line.end()
	if err := f.output.writeWith(cmd.OutOrStdout(), r.write); err != nil {
		return err
	}
	if len(r.Can) == 0 {
		return &failure{exitDenied, fmt.Errorf("nobody can load %q", args[0]), "policy can SERVICE lists what a service may load, and in a pattern * stands for any part of a name"}
	}
	return nil
}

// canLoad asks for one service, as each identity that its grants require, and says less of one where anybody will do.
func canLoad(ctx context.Context, p *ready, service string, grants []policy.Grant, environment, pattern string) (rows []canRow, err error) {
	anybody := map[canRowKey]bool{}
	for _, target := range targets(grants, pattern) {
		for _, q := range probe.Asking(service, grants, environment, target) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			s := &q.Request.Resource
			row := canRow{Service: service, Action: q.Request.Action, Source: s.Source, Name: s.Name, Origin: s.Origin, Purpose: s.Purpose, Who: q.Who}
			if s.Source == policy.SourceFile {
				row.Path = s.Path
			}
			key := canRowKey{row.Action, row.Source, row.Name, row.Path, row.Origin, row.Purpose}
			if anybody[key] {
				continue
			}
			a, err := ask(ctx, p, q.Request)
			if err != nil {
				return nil, err
			}
			if a.Verdict == change.Allowed {
				anybody[key] = q.Who == ""
				row.Grants = a.Grants
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

type canRowKey struct {
	action                      policy.Action
	source                      policy.Source
	name, path, origin, purpose string
}

// targets are what a pattern stands for among what grants name; a path or name without one is itself.
func targets(grants []policy.Grant, pattern string) (list []string) {
	if !strings.ContainsAny(pattern, "*?[") {
		return []string{pattern}
	}
	for i := range grants {
		for _, t := range slices.Concat(probe.Places(&grants[i]), grants[i].Names) {
			if ok, _ := path.Match(pattern, t); ok { // the pattern was looked at before
				list = append(list, t)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (r *whoCanReport) write(w io.Writer, kind string) error {
	if kind == "json" {
		return report.Value(w, r)
	}
	var b bytes.Buffer
	for _, c := range r.Can {
		fmt.Fprintf(&b, "%s  %s %s\n", report.Text(c.Service), c.Action, report.Text(c.what()))
		if c.Who != "" {
			fmt.Fprintf(&b, "  %s\n", report.Text(c.Who))
		}
		fmt.Fprintf(&b, "  grant %s\n", report.Text(strings.Join(c.Grants, ", ")))
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c *canRow) what() string {
	text := map[policy.Source]string{policy.SourceFile: "file ", policy.SourceCredential: "credential ", policy.SourceEnv: "variable "}[c.Source] + c.Name + c.Path
	if c.Origin != "" {
		text += " copied from " + c.Origin
	}
	if c.Purpose != "" {
		text += " for the purpose " + c.Purpose
	}
	return text
}
