package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/llorch/secrets-management/secret"
)

func noToken(context.Context) (*secret.Secret, error) { return nil, errors.New("none today") }

func unverified() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func oldest() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS11} }

func newest() *tls.Config { return &tls.Config{MaxVersion: tls.VersionTLS11} }

func chmod(t *testing.T, name string, mode os.FileMode) string {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
