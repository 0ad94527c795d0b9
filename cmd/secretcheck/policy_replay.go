package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/replay"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

const changeFormats = "pretty, json, markdown or html"

func newPolicyReplay() *cobra.Command {
	var out outputs
	cmd := &cobra.Command{
		Use:   "replay DECISIONS... NEW",
		Short: "put recorded decisions to another policy, and tell what changes",
		Example: `  secretcheck policy replay /var/log/llorch/audit.jsonl* policy/
  zcat decisions.gz | secretcheck policy replay - policy.tar.gz --format json`,
		Long: `Read decision logs, those of services and those of OPA, put what was judged to the
policy NEW, a folder or a bundle, and list who gains and who loses what, each with
the first entry that shows it. What cannot be judged again is counted apart, with
the reason: an entry without its whole input, or of a load that ended before the
policy had judged it.

exit codes, of several the first: 5 policy error, 4 bad input or usage, 1 a load
would be denied, 3 one would be allowed or was not replayed, 0 nothing changes`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyReplay(cmd, args, &out)
		},
	}
	cmd.Flags().SortFlags = false
	out.register(cmd.Flags(), changeFormats)
	return cmd
}

func runPolicyReplay(cmd *cobra.Command, args []string, out *outputs) error {
	if len(args) < 2 {
		return usage("secretcheck policy replay DECISIONS... NEW", "policy replay takes decision logs and a policy")
	}
	if err := out.valid(); err != nil {
		return err
	}
	names, path := args[:len(args)-1], args[len(args)-1]
	logs, err := openDecisions(names, cmd.InOrStdin())
	defer logs.close()
	if err != nil {
		return err
	}
	if err := out.spare(slices.Concat(logs.infos(), policyFiles(path))); err != nil {
		return err
	}
	to, err := openNamed(cmd.Context(), path, logs.small())
	if err != nil {
		return err
	}
	defer to.engine.Close()
	p := &replay.Replayer{New: to.engine}
	if err := logs.replay(cmd, p); err != nil {
		return err
	}
	c := changesOf("policy replay", &p.Result)
	c.New = to.name
	if err := out.writeChanges(cmd.OutOrStdout(), c); err != nil {
		return err
	}
	switch r := &p.Result; {
	case r.Unclear[recorded.WhyEngine] > 0:
		return &failure{code: exitPolicy}
	case r.Table.Narrowing > 0:
		return &failure{code: exitDenied}
	case r.Table.Widening > 0 || r.NotReplayed() > 0:
		return &failure{code: exitUndecided}
	}
	return nil
}

// ready is a policy that is in force, and what it is called in a report.
type ready struct {
	bundle *policy.Bundle
	engine *policy.Engine
	name   report.PolicyName
}

// openNamed makes a policy ready: for few decisions soon, or for many on all processors.
func openNamed(ctx context.Context, path string, soon bool) (*ready, error) {
	bundle, err := loadPolicy(ctx, path)
	if err != nil {
		return nil, err
	}
	engine, err := policy.Open(ctx, bundle, policy.Options{Limits: manyLimits(), Interpreter: soon && len(bundle.Data) <= 8*fewBytes})
	if err != nil {
		return nil, unusable(path, err)
	}
	info := engine.Info()
	return &ready{bundle, engine, report.PolicyName{Path: filepath.ToSlash(path), Revision: info.Revision, Digest: info.Digest}}, nil
}

// manyLimits are patient, on all processors.
func manyLimits() policy.Limits {
	limits := patient()
	limits.Instances = 0
	return limits
}

// decisions are decision logs that are open.
type decisions struct {
	files []*os.File // nil for what is piped in
	sizes []int64    // when it was opened: what is appended meanwhile is not read
	names []string
	stdin io.Reader
}

// openDecisions opens logs, - being what is piped in.
func openDecisions(names []string, stdin io.Reader) (*decisions, error) {
	d := &decisions{stdin: stdin}
	for _, name := range names {
		if name == "-" {
			d.files, d.sizes, d.names = append(d.files, nil), append(d.sizes, 0), append(d.names, "stdin")
			continue
		}
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			var info os.FileInfo
			if info, err = f.Stat(); err == nil && info.IsDir() {
				err = &os.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
			}
			if err == nil {
				d.files, d.sizes, d.names = append(d.files, f), append(d.sizes, size(info)), append(d.names, filepath.ToSlash(name))
			} else {
				_ = f.Close()
			}
		}
		if err != nil {
			return d, usage("name the files of a decision log", "decisions: %w", short(err))
		}
	}
	return d, nil
}

// size bounds what is read of a file; a pipe has no size.
func size(info os.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return math.MaxInt64
}

func (d *decisions) close() {
	for _, f := range d.files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// small reports whether the logs hold so little that the interpreter is done before the compiler, see few.
func (d *decisions) small() bool {
	total := int64(0)
	infos := d.infos()
	for _, info := range infos {
		total += info.Size()
	}
	return len(infos) == len(d.files) && total <= 8*fewBytes
}

func (d *decisions) infos() (list []os.FileInfo) {
	for _, f := range d.files {
		if f == nil {
			continue
		}
		if info, err := f.Stat(); err == nil {
			list = append(list, info)
		}
	}
	return list
}

// replay puts all logs to a policy. A log without a single entry is an error: nothing was asked.
func (d *decisions) replay(cmd *cobra.Command, p *replay.Replayer) error {
	line := newProgress(cmd.ErrOrStderr())
	defer line.end()
	p.Progress = func(n int) { line.at("replayed %d entries", n) }
	for i, f := range d.files {
		r := d.stdin
		if f != nil {
			r = io.LimitReader(f, d.sizes[i])
		}
		if err := p.Read(cmd.Context(), d.names[i], r); err != nil {
			return usage("name decision logs that can be read, or - for what is piped in", "decisions: %s: %w", d.names[i], short(err))
		}
	}
	if p.Result.Replayed+p.Result.NotReplayed() == 0 {
		return usage(noDecisionHint, "no decision found in %s", strings.Join(d.names, ", "))
	}
	p.Result.Table.Sort()
	return nil
}

// changesOf is the report on a replay.
func changesOf(command string, r *replay.Result) *report.Changes {
	c := &report.Changes{
		SchemaVersion: 1, Command: command, Rows: append([]*change.Row{}, r.Table.Rows...), NotReplayed: []report.NotReplayed{},
		Summary: report.ChangeSummary{
			Requests: r.Replayed, Same: r.Same, OtherReasons: r.Other, Widening: r.Table.Widening, Narrowing: r.Table.Narrowing,
			NotReplayed: r.NotReplayed(), Aside: r.Aside, Omitted: r.Table.Omitted,
		},
	}
	for _, why := range slices.Sorted(maps.Keys(r.Unclear)) {
		n := report.NotReplayed{Why: why, Count: r.Unclear[why]}
		for _, s := range r.Samples {
			if s.Why == why {
				n.Place, n.Detail = s.Place, s.Detail
			}
		}
		c.NotReplayed = append(c.NotReplayed, n)
	}
	return c
}

func (o *outputs) writeChanges(stdout io.Writer, c *report.Changes) error {
	return o.writeWith(stdout, c.Write)
}
