//go:build linux

package features

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// What the files of the scenarios hold.
const (
	token = "fake-token-0123456789-for-scenarios"
	key   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// world is all that one scenario sees: a folder of its own, one service, its policy and its audit log.
type world struct {
	dir     string
	engine  *policy.Engine
	loader  *loader.Loader
	audit   auditLog
	log     bytes.Buffer
	files   []string // that hold, or would hold, a secret
	holds   []byte   // what the load must give
	seen    events   // what happened to files during the load
	restore []func() error

	token    *secret.Secret
	key      *secret.Key
	err      error
	asserted bool // a step looked at the outcome
}

// initialize gives a scenario a fresh world and the steps to act in it.
func initialize(sc *godog.ScenarioContext) {
	w := new(world)
	sc.Before(func(ctx context.Context, _ *godog.Scenario) (context.Context, error) { return ctx, w.open() })
	sc.After(func(ctx context.Context, _ *godog.Scenario, err error) (context.Context, error) {
		if cerr := w.close(); cerr != nil {
			return ctx, cerr
		}
		if err == nil && !w.asserted {
			return ctx, errors.New("no step asserted the outcome")
		}
		return ctx, nil
	})
	w.fileSteps(sc)
	w.credentialSteps(sc)
	w.loadingSteps(sc)
}

func (w *world) open() error {
	dir, err := os.MkdirTemp("", "features")
	if err != nil {
		return err
	}
	if w.dir, err = filepath.EvalSymlinks(dir); err != nil { // grants are for real paths
		return errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(os.Mkdir(w.secrets(), 0o700), os.Mkdir(w.credentials(), 0o700))
}

func (w *world) close() error {
	var errs []error
	for _, undo := range w.restore {
		errs = append(errs, undo())
	}
	if w.engine != nil {
		w.engine.Close()
	}
	return errors.Join(append(errs, w.token.Close(), w.key.Close(), os.RemoveAll(w.dir))...)
}

// secrets is the folder that grants are for.
func (w *world) secrets() string { return filepath.Join(w.dir, "secrets") }

// credentials is what systemd would put under /run/credentials.
func (w *world) credentials() string { return filepath.Join(w.dir, "credentials") }

// path is that of a file as an operator writes it: relative to the secrets folder, and not cleaned.
func (w *world) path(name string) string { return w.secrets() + "/" + name }

// serve starts the service with what the security team grants it: the default rules, and nothing but these grants.
func (w *world) serve(service string) error {
	grants, err := json.Marshal(map[string]any{"secrets": map[string]any{"services": map[string]any{service: []any{
		map[string]any{"id": "files", "actions": []string{"load_secret", "load_key"}, "source": "file", "dirs": []string{w.secrets()}},
		map[string]any{"id": "credential", "actions": []string{"load_secret"}, "source": "credential", "names": []string{"api_token"}},
	}}}})
	if err != nil {
		return err
	}
	bundle, err := policy.DefaultBundle(grants)
	if err != nil {
		return err
	}
	// A deadline that a busy machine does not reach.
	options := policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}}
	if w.engine, err = policy.Open(context.Background(), bundle, options); err != nil {
		return err
	}
	w.loader, err = loader.New(loader.Config{
		Service: service, Policy: w.engine, Audit: &w.audit, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	return err
}

// leaksNothing looks for the secret in everything that anybody gets to read.
func (w *world) leaksNothing() error {
	text := w.log.String() + strings.Join(w.audit.lines, "\n") + fmt.Sprint(w.err)
	if strings.Contains(text, token) || strings.Contains(text, key) {
		return errors.New("the secret is in the error, the log or the audit log")
	}
	return nil
}

// auditLog is an audit log that can be looked at.
type auditLog struct {
	mu      sync.Mutex
	entries []loader.Entry
	lines   []string
}

// Record keeps the entry as it is now: the loader goes on using what it points to.
func (a *auditLog) Record(_ context.Context, e *loader.Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	entry := *e
	if e.Result != nil {
		result := *e.Result
		entry.Result = &result
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, entry)
	a.lines = append(a.lines, string(line))
	return nil
}

// story is the log in a word for each entry: "allow" or "deny" for a verdict, else how the load ended. Entries of
// different loads do not belong together.
func (a *auditLog) story() string {
	var words []string
	for _, e := range a.entries {
		word := e.Outcome
		if e.Result != nil {
			word = map[bool]string{true: "allow", false: "deny"}[e.Result.Allowed()]
		}
		if e.DecisionID == "" || e.DecisionID != a.entries[0].DecisionID {
			word += " of another load"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}
