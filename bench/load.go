package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/awnumar/memguard"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// What a whole load costs: a 64-byte token, in a file whose path has four components, under the default rules with their
// memo, recorded twice, as lines of JSON, or chained and under a lock.
func loadRatios() []ratio {
	return []ratio{
		{name: "load_vs_readfile", limit: 4, measure: loadVersus(false, readFilePeer)},
		{name: "load_vs_assembled", limit: 0.20, measure: loadVersus(false, assembledPeer)},
		{name: "load_chained_vs_readfile", limit: 10, measure: loadVersus(true, readFilePeer)},
		{name: "load_chained_vs_assembled", limit: 0.20, measure: loadVersus(true, assembledPeer)},
		{name: "load_1k_chained_vs_readfile", limit: 16, measure: loadAll},
	}
}

// place is a service with so many files.
type place struct {
	dir    string
	paths  []string
	engine *policy.Engine
	audit  io.Closer
	loader *loader.Loader
}

func newPlace(files int, chained bool) (p *place, err error) {
	p = &place{}
	home, err := os.UserHomeDir() // not below a directory that everybody writes to: no secret of a service is
	if err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp(home, ".load"); err != nil {
		return nil, err
	}
	if p.dir, err = filepath.EvalSymlinks(p.dir); err != nil {
		return nil, err
	}
	secrets := filepath.Join(p.dir, "secrets")
	if err = os.Mkdir(secrets, 0o700); err != nil {
		return nil, err
	}
	for i := range files {
		path := filepath.Join(secrets, fmt.Sprintf("token-%d", i))
		if err = os.WriteFile(path, []byte(token), 0o600); err != nil {
			return nil, err
		}
		p.paths = append(p.paths, path)
	}
	grants := fmt.Sprintf(`{"secrets":{"services":{"service-0":[{"id":"g","actions":["load_secret"],"source":"file","dirs":[%q]}]}}}`, secrets)
	if p.engine, err = policy.Default([]byte(grants)); err != nil {
		return nil, err
	}
	sink, err := p.log(chained)
	if err != nil {
		return nil, err
	}
	p.loader, err = loader.New(loader.Config{Service: "service-0", Policy: p.engine, Audit: sink, Logger: slog.New(slog.DiscardHandler)})
	return p, err
}

// log opens the audit log.
func (p *place) log(chained bool) (loader.AuditSink, error) {
	name := filepath.Join(p.dir, "audit.jsonl")
	if chained {
		f, err := loader.OpenAuditFile(name)
		p.audit = f
		return f, err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // G304: a name of ours
	p.audit = f
	return loader.NewAuditWriter(f), err
}

func (p *place) close() error {
	p.engine.Close()
	return errors.Join(p.audit.Close(), os.RemoveAll(p.dir))
}

// loadVersus compares one load with a peer's.
func loadVersus(chained bool, peer func(p *place, failed *error) (func(), error)) func() (float64, error) {
	return func() (value float64, err error) {
		p, err := newPlace(1, chained)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		var failed error
		theirs, err := peer(p, &failed)
		if err != nil {
			return 0, err
		}
		ctx, ref := context.Background(), loader.File(p.paths[0])
		value = compare(func() {
			s, err := p.loader.LoadSecret(ctx, ref)
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				failed = err
			}
		}, theirs)
		return value, failed
	}
}

// readFilePeer only reads.
func readFilePeer(p *place, failed *error) (func(), error) {
	return func() {
		if _, err := os.ReadFile(p.paths[0]); err != nil {
			*failed = err
		}
	}, nil
}

// loadAll is a thousand secrets in one call, against as many calls of os.ReadFile.
func loadAll() (value float64, err error) {
	const n = 1000
	p, err := newPlace(n, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	secrets := make([]*secret.Secret, n)
	requests := make([]loader.Request, n)
	for i := range requests {
		requests[i] = loader.Request{Secret: &secrets[i], Refs: []loader.Ref{loader.File(p.paths[i])}}
	}
	var failed error
	ctx := context.Background()
	value = compare(func() {
		if err := p.loader.LoadAll(ctx, requests...); err != nil {
			failed = err
			return
		}
		for _, s := range secrets {
			if err := s.Close(); err != nil {
				failed = err
			}
		}
	}, func() {
		for _, path := range p.paths {
			if _, err := os.ReadFile(path); err != nil { //nolint:gosec // G304: a name of ours
				failed = err
			}
		}
	})
	return value, failed
}

// assembledPeer is the same job from what there is: a stat of the file and of what is above it, OPA's evaluator on the same
// rules, memguard, and a line of JSON in a log for the verdict and for the outcome.
func assembledPeer(p *place, failed *error) (func(), error) {
	q, err := prepared()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "peer.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	record := slog.New(slog.NewJSONHandler(log, nil))
	return func() {
		if err := assembled(q, record, p.paths[0]); err != nil {
			*failed = err
		}
	}, nil
}

func assembled(q rego.PreparedEvalQuery, record *slog.Logger, path string) error {
	r := request(false)
	var fi os.FileInfo
	for at := path; at != "/"; at = filepath.Dir(at) { // no link on the way, and who may write
		here, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if here.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link", at)
		}
		if fi == nil {
			fi = here
		}
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no stat")
	}
	r.Resource.File.Mode, r.Resource.File.Size = uint32(fi.Mode().Perm()), fi.Size()
	r.Subject.UID, r.Subject.GID, r.Resource.File.UID, r.Resource.File.GID = int64(st.Uid), int64(st.Gid), int64(st.Uid), int64(st.Gid)
	r.Resource.File.OwnerIsMe = int(st.Uid) == os.Geteuid()
	r.Resource.File.Readers.UIDs, r.Resource.File.Writers.UIDs = []int64{int64(st.Uid)}, []int64{0, int64(st.Uid)}
	var failed error
	eval(q, func() (rego.EvalOption, error) { return rego.EvalParsedInput(opaInput(r)), nil }, true, &failed)()
	if failed != nil {
		return failed
	}
	record.Info("verdict", "input", r, "allow", true)
	f, err := os.Open(path) //nolint:gosec // G304: a name of ours
	if err != nil {
		return err
	}
	b, err := memguard.NewBufferFromEntireReader(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	defer b.Destroy()
	if len(bytes.TrimSpace(b.Bytes())) != len(token) {
		return errors.New("another token")
	}
	record.Info("outcome", "outcome", "loaded")
	return nil
}
