package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "policy COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 "write, test, build and sign policies, and question them",
		Example: `  secretcheck policy init policy/ && secretcheck policy test policy/
  secretcheck policy build policy/ -o policy.tar.gz
  secretcheck policy can queen-rbee --policy policy.tar.gz`,
		RunE: noCommand,
	}
	cmd.AddCommand(newPolicyBuild(), newPolicyCan(), newPolicyCheck())
	cmd.AddCommand(newPolicyInit(), newPolicyFmt(), newPolicyInspect(), newPolicyBench(), newPolicyTest(), newPolicySign(), newPolicyVerify(), newPolicyKeygen())
	cmd.AddCommand(newPolicyReplay(), newPolicyDiff(), newPolicyExplain(), newPolicyWhoCan(), newPolicyUnused())
	return cmd
}

// maxBundle bounds a bundle file; the engine has its own, tighter limits on what is inside.
const maxBundle = 128 << 20

const policyHint = "--policy takes a folder of rules and grants, or a bundle"

// noPolicy is the error of a command that needs one.
func noPolicy() error {
	return usage("add --policy with a folder of rules and grants or a bundle", "no policy given")
}

// folder refuses what is not the folder of a policy's sources.
func folder(name, hint string) error {
	if info, err := os.Stat(name); err != nil {
		return usage(hint, "policy: %w", short(err))
	} else if !info.IsDir() {
		return usage(hint, "policy: %s: not a folder", name)
	}
	return nil
}

// loadPolicy reads a bundle, or builds one from a folder in memory.
func loadPolicy(ctx context.Context, path string) (*policy.Bundle, error) {
	b, _, err := readPolicy(ctx, path)
	return b, err
}

// readPolicy is loadPolicy with the archive, nil for a folder.
func readPolicy(ctx context.Context, path string) (*policy.Bundle, []byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, usage(policyHint, "policy: %w", short(err))
	case err != nil:
		return nil, nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), policyHint}
	case info.IsDir():
		b, err := buildPolicy(ctx, path)
		return b, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, &failure{exitPolicy, fmt.Errorf("policy: %s: not a regular file", path), policyHint}
	case isSource(path):
		return nil, nil, usage("name its folder: --policy "+filepath.Dir(path), "policy: %s is not a bundle", path)
	}
	data, err := readBounded(path, maxBundle)
	if err != nil {
		return nil, nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	b, err := policy.ReadBundle(data)
	if err != nil {
		return nil, nil, &failure{exitPolicy, fmt.Errorf("policy: %s: %w", path, err), bundleHint(data, path)}
	}
	return b, data, nil
}

// isSource tells the files that a policy is made from by their names.
func isSource(path string) bool {
	return strings.HasSuffix(path, ".json") || strings.HasSuffix(path, ".rego")
}

// bundleHint advises to build a damaged bundle again, and nothing that would overwrite a file that never was one.
func bundleHint(data []byte, path string) string {
	if bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		return rebuildHint(path)
	}
	return policyHint
}

func rebuildHint(path string) string {
	file, ok := report.ShellWord(path)
	if !ok {
		file = "FILE"
	}
	return "build it again: secretcheck policy build DIR -o " + file
}

// unusable is the failure of a policy that was read and cannot be used.
func unusable(path string, err error) error {
	f := &failure{exitPolicy, fmt.Errorf("policy: %s: %w", path, err), rebuildHint(path)}
	if info, serr := os.Stat(path); serr == nil && info.IsDir() {
		f.hint = "" // the error says what is wrong with its sources
	}
	return f
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("%s: larger than %d bytes", path, most)
	}
	return data, err
}

func buildPolicy(ctx context.Context, dir string) (*policy.Bundle, error) {
	src, err := rego.ReadDir(dir)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	b, err := rego.Build(ctx, src)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", err), ""}
	}
	return b, nil
}
