package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
	"github.com/llorch/secrets-management/secret/secrettest"
)

const workerToken = "fake-worker-token-0123456789"

func keyFile(first byte) string { return string(first) + strings.Repeat("0", 63) }

func newLoader(t *testing.T, dir string) *loader.Loader {
	t.Helper()
	grants, err := json.Marshal(map[string]any{"secrets": map[string]any{"services": map[string]any{"vram-residency": []any{
		map[string]any{"id": "f", "actions": []string{"load_key"}, "source": "file", "dirs": []string{dir}},
		map[string]any{"id": "d", "actions": []string{"derive_key"}, "source": "file", "dirs": []string{dir}, "purposes": []string{kdf.SealKeyV1}},
		map[string]any{"id": "c", "actions": []string{"derive_key"}, "source": "credential", "names": []string{"worker_token"}, "purposes": []string{kdf.SealKeyV1}},
		map[string]any{"id": "k", "actions": []string{"load_key"}, "source": "credential", "names": []string{"seal_key"}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Default(grants)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	l, err := loader.New(loader.Config{
		Service: "vram-residency", Policy: engine, Audit: loader.NewAuditWriter(t.Output()), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSealKeyInOrder: SVC-7014, EXP-VRAM-5001, CI-005. The file that is named, else derived, else the credential; what is there and is
// refused ends the search.
func TestSealKeyInOrder(t *testing.T) {
	token, err := secret.FromBytes([]byte(workerToken))
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	derived, err := kdf.Derive(token, kdf.SealKeyV1)
	if err != nil {
		t.Fatal(err)
	}
	defer derived.Close()
	message := []byte("m")
	sealOf := func(k *secret.Key) string {
		mac, err := k.Sign(message)
		if err != nil {
			t.Fatal(err)
		}
		return string(mac)
	}
	fixed := func(first byte) string {
		k, err := secret.NewKey(func(buf []byte) error { buf[0] = (first - '0') << 4; return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		return sealOf(k)
	}
	for name, tt := range map[string]struct {
		credentials    map[string]string
		key, token     string // content of the files, "" for none
		keyMode, tMode os.FileMode
		named          bool // WORKER_SEAL_KEY_FILE is set
		want           string
		wantErr        error
	}{
		"the file":                     {credentials: map[string]string{"worker_token": workerToken, "seal_key": keyFile('3')}, key: keyFile('1'), keyMode: 0o600, named: true, want: fixed('1')},
		"the named file is not there":  {credentials: map[string]string{"worker_token": workerToken}, named: true, wantErr: loader.ErrNotFound},
		"the named file is open":       {credentials: map[string]string{"worker_token": workerToken}, key: keyFile('1'), keyMode: 0o644, named: true, wantErr: loader.ErrPermissionsTooOpen},
		"derived from the credential":  {credentials: map[string]string{"worker_token": workerToken, "seal_key": keyFile('3')}, key: keyFile('1'), keyMode: 0o600, want: sealOf(derived)},
		"derived from the file":        {credentials: map[string]string{"seal_key": keyFile('3')}, token: workerToken, tMode: 0o600, want: sealOf(derived)},
		"the token's file is open":     {credentials: map[string]string{"seal_key": keyFile('3')}, token: workerToken, tMode: 0o644, wantErr: loader.ErrPermissionsTooOpen},
		"the credential":               {credentials: map[string]string{"seal_key": keyFile('3')}, want: fixed('3')},
		"the credential is no key":     {credentials: map[string]string{"seal_key": "fake"}, wantErr: loader.ErrInvalidFormat},
		"nothing, and all that is not": {credentials: map[string]string{}, wantErr: loader.ErrCredentialNotFound},
	} {
		t.Run("SVC-7014/"+name, func(t *testing.T) {
			dir := filepath.Dir(secrettest.File(t, "x", 0o600))
			put := func(name, content string, mode os.FileMode) {
				if content != "" {
					if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600), os.Chmod(filepath.Join(dir, name), mode)); err != nil {
						t.Fatal(err)
					}
				}
			}
			put("key", tt.key, tt.keyMode)
			put("token", tt.token, tt.tMode)
			secrettest.Credentials(t, tt.credentials)
			t.Setenv("WORKER_API_TOKEN_FILE", filepath.Join(dir, "token"))
			if tt.named {
				t.Setenv("WORKER_SEAL_KEY_FILE", filepath.Join(dir, "key"))
			}
			k, err := sealKey(context.Background(), newLoader(t, dir))
			if !errors.Is(err, tt.wantErr) || (k == nil) != (tt.wantErr != nil) {
				t.Fatalf("error %v, want %v", err, tt.wantErr)
			}
			if k != nil {
				defer k.Close()
				if sealOf(k) != tt.want {
					t.Error("another key")
				}
			}
		})
	}
}
