// Package keyfile reads the files that hold a signing key and its passphrase, by the rules that services load secrets
// under, and asks for a passphrase on the terminal.
package keyfile

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// service is who asks, in the policy that is made for one file.
const service = "secretcheck"

// Load loads a file as a service would a secret of its own: the embedded default rules decide, over one grant that names
// the file and relaxes nothing, and the content goes into locked memory. So a key that others can read or replace, or that is a
// link, is refused before it is read. White space around the content is dropped. Errors are those of package loader. The
// caller closes the Secret.
func Load(ctx context.Context, name string) (*secret.Secret, error) {
	file, err := located(name)
	if err != nil {
		return nil, err
	}
	engine, err := engineFor(ctx, file)
	if err != nil {
		return nil, err
	}
	defer engine.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	l, err := loader.New(loader.Config{
		Service: service, Policy: engine, Audit: loader.NewAuditWriter(io.Discard), // a person at a terminal, not a service
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return l.LoadSecret(ctx, loader.File(file))
}

// located makes a name absolute, as references are, and resolves the links on the way to it, since a grant covers the
// real path. What it ends in is left to the rules.
func located(name string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(name))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	return filepath.Join(dir, filepath.Base(name)), err
}

// engineFor runs the default rules over a grant for one file.
func engineFor(ctx context.Context, file string) (*policy.Engine, error) {
	type grant struct {
		ID      string          `json:"id"`
		Actions []policy.Action `json:"actions"`
		Source  policy.Source   `json:"source"`
		Paths   []string        `json:"paths"`
	}
	grants, err := json.Marshal(map[string]any{"secrets": map[string]any{"services": map[string][]grant{
		service: {{"named-on-the-command-line", []policy.Action{policy.LoadSecret}, policy.SourceFile, []string{file}}},
	}}})
	if err != nil {
		return nil, err // unreachable: strings always marshal
	}
	bundle, err := policy.DefaultBundle(grants)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	return policy.Open(ctx, bundle, policy.Options{
		Interpreter: true, Limits: policy.Limits{Deadline: 10 * time.Second}, // a machine may be busy, and one person waits
	})
}
