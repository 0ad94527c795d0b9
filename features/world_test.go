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

// world is all that one scenario sees: a folder of its own, services, their policy and their audit log.
type world struct {
	dir     string
	service string           // "the service" of the steps
	grants  map[string][]any // by service: what the security team wrote
	engine  *policy.Engine   // nil until a service starts
	audit   auditLog
	log     bytes.Buffer
	files   []string // that hold, or would hold, a secret
	texts   [][]byte // what the files hold
	holds   []byte   // what the load must give
	restore []func() error

	// The last load.
	token *secret.Secret
	key   *secret.Key
	err   error
	seen  events // what happened to files

	keys      []*secret.Key // all that were loaded or derived, in order
	errs      []error       // of all loads of the step, where it has several
	presented []byte        // by the last caller
	letIn     bool          // what he was told
	memory    memory
	bundles   bundles
	rollout   rollout
	machine   machine

	asserted bool // a step looked at the outcome
}

// initialize gives a scenario a fresh world and the steps to act in it.
func initialize(sc *godog.ScenarioContext) {
	w := &world{grants: map[string][]any{}}
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
	w.grantSteps(sc)
	w.fileSteps(sc)
	w.credentialSteps(sc)
	w.loadingSteps(sc)
	w.refusalSteps(sc)
	w.verificationSteps(sc)
	w.derivationSteps(sc)
	w.printingSteps(sc)
	w.memorySteps(sc)
	w.bundleSteps(sc)
	w.rolloutSteps(sc)
	w.systemdSteps(sc)
}

func (w *world) open() error {
	dir, err := os.MkdirTemp("", "features")
	if err != nil {
		return err
	}
	if w.dir, err = filepath.EvalSymlinks(dir); err != nil { // grants are for real paths
		return errors.Join(err, os.RemoveAll(dir))
	}
	return os.Mkdir(w.secrets(), 0o700)
}

// close undoes what steps did, the last first.
func (w *world) close() error {
	var errs []error
	for i := len(w.restore) - 1; i >= 0; i-- {
		errs = append(errs, w.restore[i]())
	}
	w.stop()
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// stop ends the services.
func (w *world) stop() {
	if w.engine != nil {
		w.engine.Close()
	}
	w.engine = nil
}

// secrets is the folder that grants are for.
func (w *world) secrets() string { return filepath.Join(w.dir, "secrets") }

// path is that of a file as an operator writes it: relative to the secrets folder, and not cleaned.
func (w *world) path(name string) string { return w.secrets() + "/" + name }

// grantsJSON is what the security team wrote.
func (w *world) grantsJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"secrets": map[string]any{"services": w.grants}})
}

// options are those of an engine that a busy machine does not bring to its deadline, and that starts fast.
func options() policy.Options {
	return policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}, Interpreter: true}
}

// start starts a service: with the policy in force, else the default rules and nothing but the grants of the scenario.
func (w *world) start(service string) (*loader.Loader, error) {
	if w.engine == nil {
		grants, err := w.grantsJSON()
		if err != nil {
			return nil, err
		}
		bundle, err := policy.DefaultBundle(grants)
		if err != nil {
			return nil, err
		}
		if w.engine, err = policy.Open(context.Background(), bundle, options()); err != nil {
			return nil, err
		}
	}
	return loader.New(loader.Config{
		Service: service, Policy: w.engine, Audit: &w.audit, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
}

// leaksNothing looks for parts of the secrets in everything that anybody gets to read.
func (w *world) leaksNothing() error {
	return w.notIn(w.log.String() + strings.Join(w.audit.lines, "\n") + fmt.Sprint(w.err, w.errs))
}

// notIn looks for eight bytes in a row of what any of the files holds.
func (w *world) notIn(text string) error {
	for _, held := range w.texts {
		for i := 0; i+8 <= len(held); i++ {
			if strings.Contains(text, string(held[i:i+8])) {
				return errors.New("a part of the secret is in what others can read")
			}
		}
	}
	return nil
}

// auditLog is an audit log that can be looked at.
type auditLog struct {
	mu      sync.Mutex
	entries []loader.Entry // of the last load
	lines   []string       // of all
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
