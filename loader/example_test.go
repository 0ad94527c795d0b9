package loader_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/llorch/secrets-management/kdf"
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

// A service loads everything that it needs in one call, and answers readiness probes.
func ExampleLoader_LoadAll() {
	l, path, done, err := exampleLoader()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer done()

	var token *secret.Secret
	var sealKey *secret.Key
	err = l.LoadAll(context.Background(),
		loader.Request{Secret: &token, MinLength: 16, Refs: []loader.Ref{loader.Credential("api_token"), loader.File(path)}},
		loader.Request{Key: &sealKey, Purpose: kdf.SealKeyV1, Refs: []loader.Ref{loader.File(path)}})
	if err != nil {
		fmt.Println(err) // tells of everything that could not be loaded
		return
	}
	defer token.Close()
	defer sealKey.Close()
	fmt.Println(token, sealKey, l.Health(context.Background()))
	// Output: [REDACTED] [REDACTED] <nil>
}

// The path of the token can be set with a variable. While it moves out of the environment, the old variable is the last
// resort, with a warning each time.
func ExampleFileFromEnv() {
	l, path, done, err := exampleLoader()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer done()

	token, err := l.LoadSecret(context.Background(),
		loader.FileFromEnv("LLORCH_API_TOKEN_FILE", path), // "/etc/llorch/secrets/api-token"
		loader.Env("LLORCH_API_TOKEN"))
	if err != nil {
		fmt.Println(err) // names both where neither is there
		return
	}
	defer token.Close()
	fmt.Println(token)
	// Output: [REDACTED]
}

// What is decided goes to a file that can be verified and to the service's own log as well.
func ExampleNewAuditMulti() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file, err := loader.AuditOptions{Sync: true}.OpenFile(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	sink := loader.NewAuditMulti(file, loader.NewAuditHandler(slog.Default().Handler()))
	fmt.Println(sink.Record(context.Background(), &loader.Entry{DecisionID: "an example"}))
	// Output: <nil>
}

func exampleLoader() (l *loader.Loader, path string, done func(), err error) {
	path, grants := exampleFile()
	engine, err := policy.Default(grants)
	if err != nil {
		return nil, "", nil, err
	}
	l, err = loader.New(loader.Config{Service: "queen-rbee", Policy: engine, Audit: loader.NewAuditWriter(io.Discard)})
	return l, path, engine.Close, err
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
		{"id": "queen-variable", "actions": ["load_secret"], "source": "env", "names": ["LLORCH_API_TOKEN"]},
		{"id": "queen-seal-key", "actions": ["derive_key"], "source": "file", "paths": [%[1]q], "purposes": [%[2]q]},
		{"id": "queen-token-file", "actions": ["load_secret"], "source": "file", "paths": [%[1]q]}]}}}`, path, kdf.SealKeyV1)
}
