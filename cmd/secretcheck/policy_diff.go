package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/collect"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/probe"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/replay"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

type diffFlags struct {
	decisions   []string
	allow       []string
	environment string
	root        string
	output      outputs
}

func newPolicyDiff() *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW [DESCRIPTOR...]",
		Short: "tell who gains and who loses what between two policies",
		Example: `  secretcheck policy diff main/policy policy/
  secretcheck policy diff old.tar.gz policy/ deploy/ --decisions audit.jsonl
  secretcheck policy diff main/policy policy/ --format markdown --allow-widening ID`,
		Long: `Ask both policies what the grants of either are about, in every state of a file that
a grant relaxes; what descriptors load, as check reads them; and what decision logs
recorded. Each difference is shown by one request, and has an id that stays the
same. Access that is widened has to be allowed by its id.

exit codes: 5 policy error, 4 bad input or usage, 3 widened access that is not
allowed, or entries that could not be replayed, 0 else`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyDiff(cmd, args, &f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.decisions, "decisions", nil, "put the decision log `FILE` to both as well; repeatable")
	flags.StringVar(&f.root, "root", "", "look at the files behind the loads of descriptors in `DIR`")
	flags.StringVar(&f.environment, "environment", "", "`NAME` of the environment, for site rules")
	flags.StringSliceVar(&f.allow, "allow-widening", nil, "the widening with this `ID` is meant; repeatable")
	f.output.register(flags, changeFormats)
	return cmd
}

func runPolicyDiff(cmd *cobra.Command, args []string, f *diffFlags) error {
	if len(args) < 2 {
		return usage("secretcheck policy diff OLD NEW [DESCRIPTOR...]", "policy diff takes two policies")
	}
	if err := f.output.valid(); err != nil {
		return err
	}
	logs, err := openDecisions(f.decisions, cmd.InOrStdin())
	defer logs.close()
	if err != nil {
		return err
	}
	if err := f.output.spare(slices.Concat(logs.infos(), policyFiles(args[0]), policyFiles(args[1]))); err != nil {
		return err
	}
	soon := logs.small() && (len(args) == 2 || few(args[2:]))
	d := &differ{cmd: cmd, flags: f}
	defer d.close()
	if d.old, err = openNamed(cmd.Context(), args[0], soon); err != nil {
		return err
	}
	if d.new, err = openNamed(cmd.Context(), args[1], soon); err != nil {
		return err
	}
	if err := d.all(args[2:], logs); err != nil {
		return err
	}
	return d.tell()
}

// differ compares two policies. Everything that it finds goes into the one table of the replay.
type differ struct {
	cmd      *cobra.Command
	flags    *diffFlags
	old, new *ready
	replayer replay.Replayer
	seen     map[string]bool // what was shown already
}

func (d *differ) close() {
	for _, p := range []*ready{d.old, d.new} {
		if p != nil {
			p.engine.Close()
		}
	}
}

func (d *differ) all(descriptors []string, logs *decisions) error {
	d.replayer.Old, d.replayer.New, d.seen = d.old.engine, d.new.engine, map[string]bool{}
	if len(descriptors) > 0 {
		if err := d.descriptors(descriptors); err != nil {
			return err
		}
	}
	if len(logs.files) > 0 {
		if err := logs.replay(d.cmd, &d.replayer); err != nil {
			return err
		}
	}
	return d.grants()
}

// tell reports, and fails where access is widened.
func (d *differ) tell() error {
	r := &d.replayer.Result
	for _, id := range r.Table.Accept(d.flags.allow) {
		fmt.Fprintf(d.cmd.ErrOrStderr(), "note: nothing is widened with id %s\n", report.Text(id))
	}
	r.Table.Sort()
	c := changesOf("policy diff", r)
	c.Old, c.New = &d.old.name, d.new.name
	for _, row := range c.Rows {
		if row.Accepted {
			c.Summary.Accepted++
		}
	}
	if err := d.flags.output.writeChanges(d.cmd.OutOrStdout(), c); err != nil {
		return err
	}
	switch {
	case r.Unclear[recorded.WhyEngine] > 0:
		return &failure{code: exitPolicy}
	case r.Table.Open():
		return &failure{exitUndecided, errors.New("access is widened"), "a widening that is meant: --allow-widening ID"}
	case r.NotReplayed() > 0:
		return &failure{code: exitUndecided}
	}
	return nil
}

// add counts one request with both answers.
func (d *differ) add(about change.Subject, from, to change.Answer, w change.Witness) *change.Row {
	r, row := &d.replayer.Result, change.NewRow(about, from, to)
	r.Replayed++
	switch {
	case row != nil:
		r.Table.Add(row, w)
	case from.Verdict == change.Denied && !slices.Equal(from.Codes, to.Codes):
		r.Other++
	default:
		r.Same++
	}
	return row
}

// descriptors has both policies judge what descriptors load.
func (d *differ) descriptors(paths []string) error {
	root, err := openRoot(d.flags.root)
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
	}
	version, err := systemdVersion(d.cmd.Context(), "", root, root != nil && rootName(d.flags.root) == "")
	if err != nil {
		return err
	}
	line := newProgress(d.cmd.ErrOrStderr())
	defer line.end()
	from := options(&checkFlags{root: d.flags.root}, root, version, d.cmd.InOrStdin())
	from.Progress = func(done int, p string) { line.at("read %d: %s", done, p) }
	from.Stop = d.cmd.Context().Done()
	input := collect.Paths(paths, from)
	if err := d.cmd.Context().Err(); err != nil {
		return err
	}
	if input.Descriptors == 0 {
		return usage("name what check takes, or a folder that holds some", "no descriptor found in %s", strings.Join(paths, ", "))
	}
	cfg := check.Config{Root: rootName(d.flags.root), Environment: d.flags.environment, Systemd: version, KeepInputs: true}
	if root != nil {
		cfg.Host = root
	}
	results := d.judge(cfg, input, line)
	if err := d.cmd.Context().Err(); err != nil {
		return err
	}
	return d.loads(results[0], results[1])
}

// judge has both policies judge the same loads, at the same time where no host is looked at.
func (d *differ) judge(cfg check.Config, input check.Input, line *progress) (results [2]check.Result) {
	var running sync.WaitGroup
	for i, p := range []*ready{d.old, d.new} {
		cfg, input := cfg, input
		cfg.Policy, input.Loads, input.Findings = p.engine, slices.Clone(input.Loads), slices.Clone(input.Findings)
		if i == 1 || cfg.Host != nil {
			cfg.Progress = func(done, of int) { line.at("judged %d of %d loads", done, of) }
		}
		one := func() { results[i] = check.Run(d.cmd.Context(), cfg, input) }
		if cfg.Host != nil {
			one()
			continue
		}
		running.Go(one)
	}
	running.Wait()
	return results
}

func (d *differ) loads(old, new check.Result) error {
	switch {
	case old.EngineFailed || new.EngineFailed:
		return &failure{exitPolicy, errors.New("policy: an engine failed on a load"), "secretcheck check tells on which"}
	case old.BadInput || new.BadInput:
		return usage("secretcheck check tells which", "a descriptor could not be read")
	case len(old.Loads) != len(new.Loads):
		return notTheSame()
	}
	for i := range old.Loads {
		a, b := &old.Loads[i], &new.Loads[i]
		if a.Service != b.Service || a.File != b.File || a.Line != b.Line || a.Name != b.Name || a.Path != b.Path {
			return notTheSame()
		}
		l := a
		if b.Verdict == check.Allowed {
			l = b // the action that it grants, where the descriptor leaves it open
		}
		about := change.Subject{Service: l.Service, Action: l.Action, Source: l.Source, Name: l.Name, Path: l.Path, Origin: l.Origin}
		if l.Input != nil {
			about.Purpose = l.Input.Resource.Purpose
		}
		row := d.add(about, answerOf(a), answerOf(b), change.Witness{Place: fmt.Sprintf("%s:%d", l.File, l.Line), Input: cmp.Or(b.Input, a.Input)})
		if row != nil {
			d.seen[matter(row, row.Origin)], d.seen[matter(row, anyOrigin)] = true, true
		}
	}
	return nil
}

func notTheSame() error {
	return &failure{exitPolicy, errors.New("the policies were not asked about the same loads"), "that is a fault of this program: please report it, with both policies if you may"}
}

func answerOf(l *check.Load) change.Answer {
	var codes []string
	for _, r := range l.Reasons {
		codes = append(codes, r.Code)
	}
	return change.NewAnswer(string(l.Verdict), codes, l.Grants, l.Obligations)
}

// anyOrigin is no path: it stands for every one.
const anyOrigin = "*"

// matter is what a row is about, where a credential comes from an origin.
func matter(r *change.Row, origin string) string {
	return fmt.Sprintf("%q %q %q %q %q %q %q %q", r.Kind, r.Service, r.Action, r.Source, r.Name+r.Path, r.Purpose, r.When, origin)
}

// shown reports whether a row of the same matter was shown. One of a credential, wherever it comes from, is about each place
// as well; one of a place is not about another.
func (d *differ) shown(r *change.Row) bool {
	if r.Origin == "" {
		return d.seen[matter(r, "")] || d.seen[matter(r, anyOrigin)]
	}
	return d.seen[matter(r, "")] || d.seen[matter(r, r.Origin)]
}

// grants asks both policies about what the grants of either are about. Where the rules are the default ones in both, services
// whose grants are the same are left out: nothing but its own grants bears on what a service may.
func (d *differ) grants() error {
	old, errOld := policy.ParseGrants(d.old.bundle.Data)
	next, errNew := policy.ParseGrants(d.new.bundle.Data)
	builtIn := runBuiltIn(d.old, d.new)
	if err := errors.Join(errOld, errNew); err != nil {
		// Only rules of one's own can have data of one's own. Where it is that of the rules that are built in, or where the other
		// policy has grants, what was not asked about could be a widening.
		if errOld != nil && errNew != nil && builtIn == 0 && d.replayer.Result.Replayed > 0 {
			fmt.Fprintln(d.cmd.ErrOrStderr(), "note: the data of a policy is not grants: nothing but descriptors and decisions was compared")
			return nil
		}
		return &failure{exitPolicy, fmt.Errorf("policy: %w", err), "correct the grants: secretcheck policy check DIR; policies with rules and data of their own need descriptors or --decisions"}
	}
	line := newProgress(d.cmd.ErrOrStderr())
	defer line.end()
	services := map[string]bool{}
	for _, g := range []*policy.Grants{old, next} {
		for name := range g.Services {
			services[name] = true
		}
	}
	for n, service := range slices.Sorted(maps.Keys(services)) {
		line.at("asked about %d of %d services", n, len(services))
		if err := d.cmd.Context().Err(); err != nil {
			return err
		}
		if builtIn == 2 && reflect.DeepEqual(old.Services[service], next.Services[service]) {
			continue
		}
		grants := slices.Concat(old.Services[service], next.Services[service])
		if err := d.service(probe.Service(service, grants, d.flags.environment), probe.Corners(service, grants, d.flags.environment)); err != nil {
			return err
		}
	}
	return nil
}

// runBuiltIn counts the policies that run the module that is built into this program.
func runBuiltIn(policies ...*ready) (n int) {
	b, err := policy.DefaultBundle([]byte(`{}`))
	for _, p := range policies {
		if err == nil && string(p.bundle.Wasm) == string(b.Wasm) {
			n++
		}
	}
	return n
}

func (d *differ) service(probes []probe.Probe, corners []probe.Corner) error {
	rows, known := make([]*change.Row, len(probes)), map[change.Subject]*change.Row{}
	for i, p := range probes {
		from, to, err := d.both(p.Request)
		if err != nil {
			return err
		}
		rows[i] = change.NewRow(p.About, from, to)
		if row := rows[i]; row != nil {
			known[p.About] = row
			if d.shown(row) || said(row, rows[p.Usual], p.Usual != i) || row.Kind != change.Gains && said(row, rows[p.Plain], p.Plain != i) {
				continue
			}
			d.seen[matter(row, row.Origin)] = true
		}
		d.add(p.About, from, to, change.Witness{Input: p.Request})
	}
	return d.corners(corners, known)
}

// corners adds what is widened where no other request shows it: by what two grants had and one has now, or by a grant that a
// stricter one hides.
func (d *differ) corners(corners []probe.Corner, known map[change.Subject]*change.Row) error {
	for _, c := range corners {
		from, to, err := d.both(c.Request)
		if err != nil {
			return err
		}
		row := change.NewRow(c.About, from, to)
		if row == nil || !row.Widening || slices.ContainsFunc(c.Near, func(s change.Subject) bool {
			near := known[s]
			return near != nil && near.Widening && near.To.Obligations == row.To.Obligations
		}) {
			continue
		}
		d.add(c.About, from, to, change.Witness{Input: c.Request})
	}
	return nil
}

func (d *differ) both(r *policy.Request) (from, to change.Answer, err error) {
	if from, err = ask(d.cmd.Context(), d.old, r); err != nil {
		return from, to, err
	}
	to, err = ask(d.cmd.Context(), d.new, r)
	return from, to, err
}

// said reports whether another row says the same already.
func said(r, other *change.Row, apart bool) bool {
	return apart && other != nil && r.Kind == other.Kind && r.From.Obligations == other.From.Obligations && r.To.Obligations == other.To.Obligations
}

func ask(ctx context.Context, p *ready, r *policy.Request) (change.Answer, error) {
	a, err := replay.Ask(ctx, p.engine, r)
	if err != nil && ctx.Err() == nil && !errors.Is(err, policy.ErrRequest) {
		err = unusable(p.name.Path, err)
	}
	return a, err
}
