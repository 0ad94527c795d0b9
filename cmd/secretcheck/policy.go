package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "policy COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 "build policies and ask what they grant",
		Example: `  secretcheck policy build policy/ -o policy.tar.gz
  secretcheck policy can queen-rbee --policy policy.tar.gz`,
		RunE: noCommand,
	}
	cmd.AddCommand(newPolicyBuild(), newPolicyCan())
	return cmd
}

// maxBundle bounds a bundle file; the engine has its own, tighter limits on what is inside.
const maxBundle = 128 << 20

// loadPolicy reads a bundle, or builds one from a folder in memory.
func loadPolicy(ctx context.Context, path string) (*policy.Bundle, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), "--policy takes a folder of rules and grants, or a bundle"}
	case info.IsDir():
		return buildPolicy(ctx, path)
	case !info.Mode().IsRegular():
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %s: not a regular file", path), ""}
	}
	data, err := readBounded(path, maxBundle)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %w", short(err)), ""}
	}
	b, err := policy.ReadBundle(data)
	if err != nil {
		return nil, &failure{exitPolicy, fmt.Errorf("policy: %s: %w", path, err), "build it again: secretcheck policy build DIR -o " + path}
	}
	return b, nil
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
