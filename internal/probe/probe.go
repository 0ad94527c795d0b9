// Package probe is a service for tests: it loads the secrets that it is told to, through package loader, and prints what
// happened, the secrets included. Never give it a real one.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// Report is what is printed.
type Report struct {
	UID    int
	Engine string // of the policy: "compiler" or "interpreter"
	Memory secret.Level
	Loads  []Load
}

// Load is what became of one reference.
type Load struct {
	Ref    string
	Value  string
	Level  secret.Level // of the secret
	Error  string
	Codes  []string
	Denied bool
	Fixes  []string    // the policy's own words, as secretcheck and the audit log have them
	File   policy.File // the facts that were judged
}

// Run is the program, with these arguments:
//
//	SERVICE GRANTS REF…    GRANTS is a file, a REF is credential:NAME or file:PATH; prints a [Report] in JSON. With
//	                       PROBE_INTERPRETER in the environment it starts faster
//	memfd_secret           makes this one system call, whatever a filter does to it
//	credentials            prints a [Listing] of the credentials in JSON
func Run(args []string, stdout io.Writer) error {
	if len(args) == 1 && args[0] == "memfd_secret" {
		_, err := fmt.Fprintln(stdout, memfdSecret())
		return err
	}
	if len(args) == 1 && args[0] == "credentials" {
		listing, err := list(os.Getenv("CREDENTIALS_DIRECTORY"))
		if err != nil {
			return err
		}
		return json.NewEncoder(stdout).Encode(listing)
	}
	if len(args) < 3 {
		return errors.New("usage: probe SERVICE GRANTS REF…")
	}
	grants, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	r, err := report(args[0], grants, args[2:])
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(r)
}

func report(service string, grants []byte, refs []string) (*Report, error) {
	b, err := policy.DefaultBundle(grants)
	if err != nil {
		return nil, err
	}
	engine, err := policy.Open(context.Background(), b, policy.Options{
		Limits: policy.Limits{Deadline: 10 * time.Second}, Interpreter: os.Getenv("PROBE_INTERPRETER") != "",
	})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	last := &last{}
	l, err := loader.New(loader.Config{Service: service, Policy: engine, Audit: last, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	r := &Report{UID: os.Geteuid(), Engine: engine.Info().Engine, Memory: secret.ProtectionLevel()}
	for _, ref := range refs {
		r.Loads = append(r.Loads, load(l, last, ref))
	}
	return r, nil
}

func load(l *loader.Loader, audit *last, ref string) Load {
	out := Load{Ref: ref}
	kind, value, _ := strings.Cut(ref, ":")
	parsed := loader.File(value)
	if kind == "credential" {
		parsed = loader.Credential(value)
	}
	s, err := l.LoadSecret(context.Background(), parsed)
	out.File = audit.file
	for _, reason := range audit.reasons {
		out.Codes, out.Fixes = append(out.Codes, reason.Code), append(out.Fixes, reason.Fix)
	}
	if err != nil {
		out.Error, out.Denied = err.Error(), errors.Is(err, loader.ErrDenied)
		return out
	}
	defer s.Close()
	out.Level = s.Level()
	if out.Value, err = s.Expose(); err != nil {
		out.Error = err.Error()
	}
	return out
}

// last is an audit sink that remembers the last verdict.
type last struct {
	file    policy.File
	reasons []policy.Reason
}

func (l *last) Record(_ context.Context, e *loader.Entry) error {
	if e.Input != nil {
		l.file, l.reasons = e.Input.Resource.File, e.Result.Reasons()
	}
	return nil
}
