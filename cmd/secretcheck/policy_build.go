package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
)

func newPolicyBuild() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:     "build DIR -o FILE",
		Short:   "build a folder of rules and grants into a bundle",
		Example: `  secretcheck policy build policy/ -o policy.tar.gz`,
		Long: `Compile the rules and the grants of a folder into a bundle that services load.
The same folder gives the same bytes on every machine.`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyBuild(cmd, args, out)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write the bundle to `FILE`")
	return cmd
}

func runPolicyBuild(cmd *cobra.Command, args []string, out string) error {
	const hint = "secretcheck policy build DIR -o FILE"
	if len(args) != 1 {
		return usage(hint, "policy build takes one folder")
	}
	if out == "" {
		return usage(hint, "no file to write the bundle to")
	}
	if info, err := os.Stat(args[0]); err != nil {
		return usage(hint, "policy: %w", short(err))
	} else if !info.IsDir() {
		return usage(hint, "policy: %s: not a folder", args[0])
	}
	bundle, err := buildPolicy(cmd.Context(), args[0])
	if err != nil {
		return err
	}
	data, err := bundle.Marshal()
	if err != nil {
		return &failure{exitPolicy, err, ""}
	}
	if err := replaceFile(out, data); err != nil {
		return usage("", "output: %w", short(err))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "built %s: %d bytes, sha256 %x\n", report.Text(out), len(data), sha256.Sum256(data))
	return nil
}

// replaceFile writes a file whole or not at all: a service that starts meanwhile finds the old bundle or the new one.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
