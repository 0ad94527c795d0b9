package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/narrow"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/replay"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

type unusedFlags struct {
	policy     string
	failOnWarn bool
	output     outputs
}

func newPolicyUnused() *cobra.Command {
	var f unusedFlags
	cmd := &cobra.Command{
		Use:   "unused DECISIONS...",
		Short: "find grants that no recorded decision needed, and take them out",
		Example: `  secretcheck policy unused /var/log/llorch/audit.jsonl* --policy policy/
  secretcheck policy unused audit.jsonl --policy policy/ --format patch | git apply`,
		Long: `Judge the loads of decision logs anew, and list the grants, and the items of their
lists, that none of them needed, with a patch that takes these out of data.json.
The patch is given only after the logs were replayed with the narrower grants and
nothing that is recorded changed. A log tells of the time that it covers only: a
secret that is loaded once a year is not in the log of a month.

exit codes, of several the first: 5 policy error, 4 bad input or usage, 3 entries
that could not be read may need more, 2 unused grants with --fail-on-warn, 0 else`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyUnused(cmd, args, &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.policy, "policy", "", "the policy in `DIR|FILE`: rules and grants, or a bundle")
	flags.BoolVar(&f.failOnWarn, "fail-on-warn", false, "exit with 2 when something is unused")
	f.output.register(flags, "pretty, json or patch")
	return cmd
}

func runPolicyUnused(cmd *cobra.Command, args []string, f *unusedFlags) error {
	switch {
	case len(args) == 0:
		return usage("secretcheck policy unused --help", "no decision log given")
	case f.policy == "":
		return noPolicy()
	case slices.Contains(args, "-"):
		return usage("write them to a file first", "the decisions are read twice, which what is piped in cannot be")
	}
	if err := f.output.valid(); err != nil {
		return err
	}
	logs, err := openDecisions(args, nil)
	defer logs.close()
	if err != nil {
		return err
	}
	if err := f.output.spare(slices.Concat(logs.infos(), policyFiles(f.policy))); err != nil {
		return err
	}
	now, err := openNamed(cmd.Context(), f.policy, logs.small())
	if err != nil {
		return err
	}
	defer now.engine.Close()
	grants, err := policy.ParseGrants(now.bundle.Data)
	if err != nil {
		return unusable(f.policy, err)
	}
	used, judged := narrow.NewUsage(grants), 0
	p := &replay.Replayer{New: now.engine, Each: func(r *policy.Request, a change.Answer) {
		judged++
		used.Add(r, a.Grants)
	}}
	if err := logs.replay(cmd, p); err != nil {
		return err
	}
	if judged == 0 && p.Result.Unclear[recorded.WhyEngine] == 0 { // from which every grant would seem to be unused
		return usage(noDecisionHint, "none of %d entries could be judged: nothing is known of what is used", p.Result.NotReplayed())
	}
	r := &unusedReport{SchemaVersion: 1, Policy: now.name, NotReplayed: changesOf("", &p.Result).NotReplayed, logs: p.Result.Replayed}
	if err := r.prove(cmd, now, logs, used); err != nil {
		return err
	}
	if err := f.output.writeWith(cmd.OutOrStdout(), r.write); err != nil {
		return err
	}
	return r.code(f, &p.Result)
}

func (r *unusedReport) code(f *unusedFlags, read *replay.Result) error {
	switch {
	case read.Unclear[recorded.WhyEngine] > 0:
		return &failure{code: exitPolicy}
	case read.NotReplayed() > read.Unclear[recorded.WhyNoVerdict]:
		// Said aloud, since a pipe into git apply hides the code.
		return &failure{exitUndecided, fmt.Errorf("%d entries could not be read, and may need what is listed as unused", read.NotReplayed()-read.Unclear[recorded.WhyNoVerdict]), "--format pretty tells where they are"}
	case len(r.Unused) > 0 && f.failOnWarn:
		return &failure{code: exitWarned}
	}
	return nil
}

// unusedReport is the JSON form, an interface.
type unusedReport struct {
	SchemaVersion int                  `json:"schema_version"`
	Policy        report.PolicyName    `json:"policy"`
	Unused        []narrow.Idle        `json:"unused"`
	Patch         string               `json:"patch"` // empty where there is nothing to take out
	Proof         report.ChangeSummary `json:"proof"` // of the logs, replayed with the narrower grants
	NotReplayed   []report.NotReplayed `json:"not_replayed"`

	logs int
}

// prove takes what is idle out and replays the logs with the rest. Where rules of a site's own see more in a list than the
// default rules do, and something changes, only whole grants go.
func (r *unusedReport) prove(cmd *cobra.Command, now *ready, logs *decisions, used *narrow.Usage) error {
	for _, wholly := range []bool{false, true} {
		r.Unused = used.Idle(wholly)
		if len(r.Unused) == 0 {
			return nil
		}
		data, patch, err := narrow.Without(now.bundle.Data, r.Unused, patchName(now.name.Path))
		if err != nil {
			return unusable(now.name.Path, err)
		}
		result, err := logs.with(cmd, now, data)
		if err != nil {
			return err
		}
		if len(result.Table.Rows) == 0 && result.Other == 0 && result.Table.Omitted == 0 && result.Unclear[recorded.WhyEngine] == 0 {
			r.Patch, r.Proof = patch, changesOf("", result).Summary
			return nil
		}
	}
	return &failure{exitPolicy, errors.New("the grants that nothing needed cannot be taken out: recorded decisions would change"), "rules of the policy's own depend on them"}
}

// with replays the logs once more, as they were, with other grants.
func (d *decisions) with(cmd *cobra.Command, now *ready, data []byte) (*replay.Result, error) {
	narrower := *now.bundle
	narrower.Data, narrower.Smoke = data, nil
	engine, err := policy.Open(cmd.Context(), &narrower, policy.Options{Limits: manyLimits(), Interpreter: d.small()})
	if err != nil {
		return nil, unusable(now.name.Path, fmt.Errorf("with narrower grants: %w", err))
	}
	defer engine.Close()
	if err := d.rewind(cmd.Context()); err != nil {
		return nil, err
	}
	p := &replay.Replayer{Old: now.engine, New: engine}
	if err := d.replay(cmd, p); err != nil {
		return nil, err
	}
	return &p.Result, nil
}

// rewind goes back to where the logs begin.
func (d *decisions) rewind(context.Context) error {
	for i, f := range d.files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return usage("name regular files", "decisions: %s: they are read twice: %w", d.names[i], short(err))
		}
	}
	return nil
}

// patchName is the file that a patch names: as seen from here, where the policy is a folder below.
func patchName(policy string) string {
	info, err := os.Stat(policy)
	if clean := filepath.ToSlash(filepath.Clean(policy)); err == nil && info.IsDir() && filepath.IsLocal(policy) && !strings.ContainsAny(clean, " \t\n\"\\") {
		return path.Join(clean, "data.json")
	}
	return "data.json"
}

func (r *unusedReport) write(w io.Writer, kind string) error {
	var b bytes.Buffer
	switch kind {
	case "json":
		return report.Value(w, r)
	case "patch":
		b.WriteString(r.Patch)
	default:
		r.pretty(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (r *unusedReport) pretty(b *bytes.Buffer) {
	for _, u := range r.Unused {
		what := "nothing needed it"
		if u.Field != "" {
			what = fmt.Sprintf("nothing needed of its %s: %s", u.Field, strings.Join(u.Items, ", "))
		}
		fmt.Fprintf(b, "%s  grant %s: %s\n", report.Text(u.Service), report.Text(u.Grant), report.Text(what))
	}
	for _, n := range r.NotReplayed {
		fmt.Fprintf(b, "not replayed: %s, %d; first at %s: %s\n", n.Why, n.Count, report.Text(n.Place), report.Text(n.Detail))
	}
	if r.Patch == "" {
		fmt.Fprintf(b, "%d decisions need every grant\n", r.logs)
		return
	}
	fmt.Fprintf(b, "\n%s\nproven: without these, %d recorded decisions are the same, and none changes\n", report.Lines(r.Patch), r.Proof.Same)
}
