package loader_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// A service loads its token: from a systemd credential, or else from a file.
func Example() {
	token, err := loadToken()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer token.Close()
	fmt.Println(token, token.Verify("a guess"))
	// Output: [REDACTED] false
}

func loadToken() (*secret.Secret, error) {
	path, grants := exampleFile() // "/etc/llorch/secrets/api-token" and the security team's grants.json

	engine, err := policy.Default(grants)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	l, err := loader.New(loader.Config{Service: "queen-rbee", Policy: engine, Audit: loader.NewAuditWriter(os.Stderr)})
	if err != nil {
		return nil, err
	}
	return l.LoadSecret(context.Background(), loader.Credential("api_token"), loader.File(path))
}

// exampleFile stands for what a deployment provides: a token of mode 0600, and grants that name it.
func exampleFile() (path string, grants []byte) {
	dir, err := os.MkdirTemp("", "example")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", nil
	}
	path = filepath.Join(dir, "api-token")
	if err := os.WriteFile(path, []byte("fake-token-for-the-example\n"), 0o600); err != nil {
		return "", nil
	}
	return path, fmt.Appendf(nil, `{"secrets": {"services": {"queen-rbee": [
		{"id": "queen-token", "actions": ["load_secret"], "source": "credential", "names": ["api_token"]},
		{"id": "queen-token-file", "actions": ["load_secret"], "source": "file", "paths": [%q]}]}}}`, path)
}
