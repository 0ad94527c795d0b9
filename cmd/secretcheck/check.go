package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/collect"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/host"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/unused"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/waivers"
	"github.com/llorch/secrets-management/policy"
)

// checkFlags are the flags of check.
type checkFlags struct {
	root         string
	policy       string
	environment  string
	requireFacts bool
	failOnWarn   bool
	failOn       string
	waivers      string
	baseline     string
	config       config
	allUnits     bool
	systemd      string
	kind         string
	stdinName    string
	unusedGrants bool
	profiles     []string
	variables    []string
	output       outputs
}

// aboutCheck is what the help of check leaves out, and its manual page has.
const aboutCheck = `What is read: systemd units (*.service with their drop-ins), Kubernetes manifests
(*.yaml, *.json), Compose projects (*.yaml), Quadlet files (*.container, *.kube) and
inventories (*.yaml). With --root the files behind the loads are looked at too, in
DIR as if it were /; their content is never read, but for the names of variables in
the environment files of units.

A variable, or an option of a command line, whose name ends in token, password,
secret and the like counts as a secret: see secretcheck rules secret_in_environment.

The files of a pod are judged as the kubelet will make them. A volume without
items has every key of its secret, PATH/*: a grant has to cover the directory.

Compose files that are named are one project for each folder, as with -f; in a
directory it is compose.yaml with its override. Variables are those of --env and
of the .env file, none of the job's. Of a secret that is a file, the container sees
that file as it is on the host; what Compose makes itself is judged as it makes it.

With --root, directories of the search path for units in DIR are read as systemd
reads them: a unit in /usr/lib is judged with its drop-ins in /etc, and by a check
of /etc/systemd/system too. --all-units reads what DIR, or this machine, has
enabled: services that are linked from a .wants, .requires or .upholds directory
or have an alias in /etc or /run, and those of enabled sockets, timers and paths.
What these pull in by themselves is not searched.

An inventory lists loads that no unit shows:

  services:
    - service: queen-rbee
      uid: 990
      loads:
        - {action: load_secret, source: file, path: /etc/llorch/secrets/api-token}
        - {action: load_secret, source: env, name: LLORCH_API_TOKEN}

In a unit, X-Secretcheck-Service=NAME names the service, where it is not the
unit's name, and X-Secretcheck-Action=CREDENTIAL:ACTION[:PURPOSE] the action.
In a manifest, the annotation secretcheck.llorch.dev/service does the former,
where the label app.kubernetes.io/name or the object's name is not the service,
and secretcheck.llorch.dev/action, with PATH or VARIABLE before :ACTION, the latter.
In Compose, x-secretcheck-service and x-secretcheck-action of a service, or labels
with the names of the annotations, and in Quadlet the settings of a unit do both.`

func newCheck() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "judge what deployment descriptors load",
		Example: `  secretcheck check deploy/ --policy policy/
  helm template queen chart/ | secretcheck check - --policy policy.tar.gz
  secretcheck check --all-units --policy policy.tar.gz --root /`,
		Long: `Judge every secret that systemd units, Kubernetes manifests, Compose projects,
Quadlet files and inventories load. Folders are searched; - is standard input.

exit codes, of several the first: 5 policy or engine error, 4 bad input or
usage, 1 denied, 3 undecided, 2 warnings with --fail-on-warn, 0 clean`,
		Annotations:           map[string]string{more: aboutCheck},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCheck(cmd, &f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.policy, "policy", "", "judge by `DIR|FILE`: rules and grants, or a bundle")
	flags.StringVar(&f.root, "root", "", "look at the files in `DIR`; its owner counts as root")
	flags.BoolVar(&f.allUnits, "all-units", false, "check the enabled services of DIR or this machine")
	flags.StringVar(&f.failOn, "fail-on", "error", "exit 2 on `SEVERITY`: warning, note")
	flags.StringVar(&f.waivers, "waivers", "", "what is accepted for a time stands in `FILE`")
	f.output.register(flags, checkFormats)
	flags.Lookup("format").Usage = "write the report as `F`: pretty, json, sarif, junit,\ngithub, markdown or html"
	flags.Lookup("output").Usage = "write it to a file as well, as `F=FILE`; repeatable"
	flags.StringVar(&f.baseline, "baseline", "", "only what is not in the JSON report `FILE` counts")
	flags.StringVar(&f.kind, "type", "", "read every file that is named as `KIND`: "+strings.Join(collect.Kinds(), ", "))
	flags.StringVar(&f.stdinName, "stdin-name", "", "what is piped in is the file `NAME`, such as queen-rbee.service")
	flags.StringVar(&f.systemd, "systemd-version", "", "read units as version `N` of systemd does (default that of DIR, else 257)")
	flags.BoolVar(&f.requireFacts, "require-facts", false, "call a load undecided when its file was not looked at")
	flags.StringVar(&f.environment, "environment", "", "`NAME` of the environment, for site rules")
	flags.BoolVar(&f.failOnWarn, "fail-on-warn", false, "the same as --fail-on warning")
	flags.BoolVar(&f.unusedGrants, "unused-grants", false, "warn of grants that none of the loads needs")
	flags.StringArrayVar(&f.profiles, "profile", nil, "judge the services of Compose profile `NAME` too; repeatable")
	flags.StringArrayVar(&f.variables, "env", nil, "`NAME=VALUE` for Compose, or NAME, taken from here; repeatable")
	f.config.register(flags)
	rarely(flags, "baseline", "type", "stdin-name", "systemd-version", "require-facts", "environment", "fail-on-warn", "unused-grants", "profile",
		"env", "config", "no-config")
	return cmd
}

func runCheck(cmd *cobra.Command, f *checkFlags, paths []string) error {
	const hint = "secretcheck check --help"
	paths, err := f.config.apply(cmd.Flags(), paths)
	if err != nil {
		return err
	}
	if len(paths) == 0 && !f.allUnits {
		return usage(hint, "no descriptor given")
	}
	if f.policy == "" {
		return noPolicy()
	}
	if err := errors.Join(f.output.valid(), f.valid()); err != nil {
		return err
	}
	root, err := openRoot(f.root)
	if err != nil {
		return err
	}
	if root != nil {
		defer root.Close()
	}
	version, err := systemdVersion(cmd.Context(), f.systemd, root, root != nil && rootName(f.root) == "")
	if err != nil {
		return err
	}
	line := newProgress(cmd.ErrOrStderr())
	defer line.end()
	env, err := variables(f.variables)
	if err != nil {
		return err
	}
	rules := openPolicy(cmd.Context(), f.policy, few(paths) && !f.allUnits)
	defer rules.close()
	from := options(f, root, version, cmd.InOrStdin())
	from.Compose = compose.Options{Profiles: f.profiles, Variables: env}
	from.Progress = func(done int, p string) { line.at("read %d: %s", done, p) }
	from.Stop = cmd.Context().Done()
	input := collect.Paths(paths, from)
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if input.Descriptors == 0 {
		return usage("name *.service units, Kubernetes manifests, Compose or Quadlet files, inventories, or a folder that holds some", "no descriptor found in %s", strings.Join(where(f, paths), ", "))
	}
	if err := f.output.spare(slices.Concat(input.Files, policyFiles(f.policy))); err != nil {
		return err
	}
	result, err := judge(cmd.Context(), f, rules, input, root, version, line)
	if err != nil {
		return err
	}
	if err := f.accept(&result); err != nil {
		return err
	}
	line.end()
	if err := f.output.write(cmd.OutOrStdout(), result); err != nil {
		return err
	}
	if code := exitCode(result, f.threshold()); code != exitClean {
		return &failure{code: code}
	}
	return nil
}

// valid refuses a kind of descriptor and a severity that there is none of.
func (f *checkFlags) valid() error {
	if !slices.Contains(severities(), f.failOn) {
		return usage("--fail-on takes error, warning or note", "unknown severity %q", f.failOn)
	}
	if f.kind != "" && !slices.Contains(collect.Kinds(), f.kind) {
		return usage("--type takes "+strings.Join(collect.Kinds(), ", "), "unknown type %q", f.kind)
	}
	return nil
}

// openRoot opens the folder of --root, nil where there is none.
func openRoot(dir string) (*host.Host, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no root is a choice
	}
	root, err := host.Open(dir)
	if err != nil {
		return nil, usage("--root takes a folder that stands for the root of the machine", "root: %w", short(err))
	}
	return root, nil
}

func options(f *checkFlags, root *host.Host, version int, stdin io.Reader) collect.Options {
	o := collect.Options{RootDir: f.root, AllUnits: f.allUnits, Version: version, Stdin: stdin, StdinName: f.stdinName, Kind: f.kind}
	if root != nil {
		o.Root = root
	}
	return o
}

// where names what was searched.
func where(f *checkFlags, paths []string) []string {
	if f.allUnits {
		paths = append(paths, "the search path for units of "+cmp.Or(f.root, "/"))
	}
	return paths
}

func judge(ctx context.Context, f *checkFlags, rules *opening, input check.Input, root *host.Host, version int, line *progress) (check.Result, error) {
	var none check.Result
	bundle, engine, err := rules.wait()
	if err != nil {
		return none, err
	}
	if f.unusedGrants {
		grants, err := policy.ParseGrants(bundle.Data)
		if err != nil {
			return none, unusable(f.policy, err)
		}
		input.Findings = append(input.Findings, unused.Grants(filepath.ToSlash(filepath.Clean(f.policy)), grants, input.Loads)...)
	}
	cfg := check.Config{
		Policy: engine, RequireFacts: f.requireFacts, Environment: f.environment, Systemd: version,
		Progress: func(done, of int) { line.at("judged %d of %d loads", done, of) },
	}
	if root != nil {
		cfg.Host, cfg.Root = root, rootName(f.root)
	}
	result := check.Run(ctx, cfg, input)
	return result, ctx.Err()
}

// patient leaves it to the fuel to stop a policy that does not end: it runs out at the same instruction on every machine,
// where a deadline fit for a service would make a verdict depend on how busy the host is.
func patient() policy.Limits {
	return policy.Limits{Deadline: 10 * time.Second, LoadingBudget: time.Minute, Instances: 1}
}

// rootName is how fixes name the root that files lie in, "" for that of this machine.
func rootName(dir string) string {
	if path, err := realPath(dir); err == nil && path == "/" {
		return ""
	}
	return filepath.Clean(dir)
}

// short drops the operation from a path error: "open" says nothing that "no such file" does not.
func short(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return &shortPathError{pe}
	}
	return err
}

type shortPathError struct{ *os.PathError }

func (e *shortPathError) Error() string { return e.Path + ": " + e.Err.Error() }

// accept lets what the waivers and the baseline have no longer count.
func (f *checkFlags) accept(r *check.Result) error {
	r.Version = version()
	if f.baseline != "" {
		report, err := readBounded(f.baseline, maxConfig)
		if err == nil {
			err = waivers.Baseline(r, report)
		}
		if err != nil {
			return usage("--baseline takes what --format json has written", "baseline: %w", named(f.baseline, err))
		}
	}
	if f.waivers == "" {
		return nil
	}
	data, err := readBounded(f.waivers, maxConfig)
	if err != nil {
		return usage("--waivers takes a YAML file; see docs/schema/waivers.schema.json", "waivers: %w", short(err))
	}
	list, err := waivers.Parse(filepath.ToSlash(filepath.Clean(f.waivers)), data)
	if err != nil {
		return faultIn(f.waivers, "waivers.schema.json", err)
	}
	list.Apply(r, time.Now())
	return nil
}

// named puts the file before an error that does not have it.
func named(file string, err error) error {
	if errors.Is(err, waivers.ErrBaseline) {
		return fmt.Errorf("%s: %w", file, err)
	}
	return short(err)
}

// threshold is the least severity that fails a check.
func (f *checkFlags) threshold() policy.Severity {
	if f.failOnWarn && f.failOn == string(policy.SeverityError) {
		return policy.SeverityWarning
	}
	return policy.Severity(f.failOn)
}

// exitCode picks the highest of the codes that apply.
func exitCode(r check.Result, least policy.Severity) int {
	switch {
	case r.EngineFailed:
		return exitPolicy
	case r.BadInput:
		return exitInput
	case r.Open(check.Denied) > 0 || r.Worst(policy.SeverityError):
		return exitDenied
	case r.Open(check.Undecided) > 0:
		return exitUndecided
	case least != policy.SeverityError && r.Worst(least):
		return exitWarned
	}
	return exitClean
}
