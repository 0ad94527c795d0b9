package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

func newPolicyBuild() *cobra.Command {
	var out string
	var done outputs
	cmd := &cobra.Command{
		Use:     "build DIR -o FILE",
		Short:   "build a folder of rules and grants into a bundle",
		Example: `  secretcheck policy build policy/ -o policy.tar.gz`,
		Long: `Compile the rules and the grants of a folder into a bundle that services load,
and open it once as they will. The same folder gives the same bytes on every
machine.

data.json holds the grants; *.rego, which may be left out, what is refused besides;
smoke.json, likewise, requests and the verdicts that they must get. A service that
verifies its policy takes the bundle only when it is signed: secretcheck policy sign.`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPolicyBuild(cmd, args, out, &done)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write the bundle to `FILE`")
	done.registerOne(cmd.Flags())
	return cmd
}

// buildReport is the JSON form, an interface.
type buildReport struct {
	SchemaVersion int    `json:"schema_version"`
	Bundle        string `json:"bundle"`
	Bytes         int    `json:"bytes"`
	SHA256        string `json:"sha256"`
	DefaultRules  bool   `json:"default_rules"`
}

func runPolicyBuild(cmd *cobra.Command, args []string, out string, done *outputs) error {
	const hint = "secretcheck policy build DIR -o FILE"
	if len(args) != 1 {
		return usage(hint, "policy build takes one folder")
	}
	if err := done.valid(); err != nil {
		return err
	}
	if out == "" {
		return usage(hint, "no file to write the bundle to")
	}
	if err := folder(args[0], hint); err != nil {
		return err
	}
	if err := spareInputs(args[0], out); err != nil {
		return err
	}
	b, err := working(cmd, elapsed("building "+args[0]), func() (built, error) { return buildAndTry(cmd.Context(), args[0]) })
	if err != nil {
		return err
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if err := replaceFile(out, b.data, 0o644); err != nil {
		return usage(fileHint, "output: %w", short(err))
	}
	own := rego.ReplacesDefaults(b.bundle)
	if own {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s defines decision and may_ask itself: none of the default rules is in the bundle\n", report.Text(args[0]))
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(b.data))
	return done.writeOne(cmd, fmt.Sprintf("built %s: %d bytes, sha256 %s", report.Text(out), len(b.data), sum),
		buildReport{1, out, len(b.data), sum, !own})
}

// built is a bundle that services can open.
type built struct {
	bundle *policy.Bundle
	data   []byte
}

func buildAndTry(ctx context.Context, dir string) (built, error) {
	bundle, err := buildPolicy(ctx, dir)
	if err != nil {
		return built{}, err
	}
	data, err := bundle.Marshal()
	if err != nil {
		return built{}, &failure{exitPolicy, err, ""}
	}
	return built{bundle, data}, tryOut(ctx, bundle)
}

// tryOut opens a bundle as a service will: one that none can open is better refused here than met at their start.
func tryOut(ctx context.Context, bundle *policy.Bundle) error {
	engine, err := policy.Open(ctx, bundle, policy.Options{Interpreter: true, Limits: patient()})
	if err != nil {
		return &failure{exitPolicy, fmt.Errorf("policy: no service could open this bundle: %w", err), ""}
	}
	engine.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	return nil
}

// spareInputs refuses to write the bundle over what it is made from: a file of rules or data in the folder, or one that
// the folder links to.
func spareInputs(dir, out string) error {
	refused := usage("name another file, for example -o policy.tar.gz", "output: %s is an input of the policy", out)
	target, err := os.Stat(out)
	exists := err == nil
	if inside(dir, out) && (strings.HasSuffix(out, ".rego") || filepath.Base(out) == "data.json" || exists && isSource(out)) {
		return refused
	}
	if !exists {
		return nil
	}
	for _, input := range policyFiles(dir) {
		if os.SameFile(input, target) {
			return refused
		}
	}
	return nil
}

// inside reports whether a file lies in a folder or beneath it, links on the way followed.
func inside(dir, file string) bool {
	dir, err := realPath(dir)
	if err != nil {
		return false
	}
	parent, err := realPath(filepath.Dir(file))
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, parent)
	return err == nil && filepath.IsLocal(rel)
}

func realPath(name string) (string, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(name)
}

// policyFiles lists the files that a policy is made of: a bundle, or the sources in a folder.
func policyFiles(policy string) []os.FileInfo {
	var files []os.FileInfo
	_ = filepath.WalkDir(policy, func(name string, _ fs.DirEntry, _ error) error { // what cannot be read is no input
		if info, err := os.Stat(name); err == nil && !info.IsDir() && (name == policy || isSource(name)) {
			files = append(files, info)
		}
		return nil
	})
	return files
}

// replaceFile writes a file whole or not at all: a service that starts meanwhile finds the old bundle or the new one.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	return asIf(name, writeAndRename(name, data, mode))
}

// asIf words an error about a temporary file, which is nobody's concern, as one about the file that it stands for.
func asIf(name string, err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return &os.PathError{Op: path.Op, Path: name, Err: path.Err}
	case errors.As(err, &link):
		return &os.PathError{Op: link.Op, Path: name, Err: link.Err}
	}
	return err
}

func writeAndRename(name string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
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
