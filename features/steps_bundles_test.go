//go:build linux

package features

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"aead.dev/minisign"
	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/sign"
)

// bundles is how the security team's policy gets to a service: signed, as a file that the service watches.
type bundles struct {
	key     *sign.Key
	watcher *policy.Watcher
	end     time.Time // of the policy in force
	kept    release   // by somebody, for later
}

// release is a bundle and its signature.
type release struct{ archive, signature []byte }

func (w *world) bundleSteps(sc *godog.ScenarioContext) {
	sc.Given(`^revision (\d+) of the policy, signed by the security team, is in force$`, func(n uint64) error { return w.inForce(n, time.Hour) })
	sc.Given(`^revision (\d+) of the policy is in force, and ends in two seconds$`, func(n uint64) error { return w.inForce(n, 2*time.Second) })
	sc.Given(`^revision (\d+) of the policy was signed and kept by somebody$`, w.keep)
	sc.When(`^revision (\d+) of the policy takes its place$`, w.replace)
	sc.When(`^revision (\d+) of the policy takes its place, but (.*)$`, w.replaceFaulty)
	sc.When(`^revision (\d+) of the policy takes its place, as it was kept$`, w.replaceKept)
	sc.When(`^the service is stopped, the policy replaced by the kept one, and the service started$`, w.restartWithKept)
	sc.When(`^the service is started with revision (\d+) of the policy, which (.*)$`, w.startWith)
	sc.When(`^("[^"]*") loads the token from the file "([^"]*)" after that$`, w.loadAfterTheEnd)

	sc.Then(`^revision (\d+) is in force$`, func(n uint64) error { return w.rules(n, nil) })
	sc.Then(`^revision (\d+) is in force, because the other one (.*)$`, w.rulesBecause)
	sc.Then(`^it does not start, because the policy (.*)$`, w.notStarted)
	sc.Then(`^the load fails because the policy has ended$`, w.ended)
}

// fault is what can be wrong with a policy, as the steps call it, and the error that says so.
func fault(what string) (error, error) {
	errs := map[string]error{
		"is not signed":                   policy.ErrUnsigned,
		"was changed after it was signed": policy.ErrSignature,
		"is signed by somebody else":      policy.ErrWrongKey,
		"is that of another site":         policy.ErrWrongName,
		"has already ended":               policy.ErrExpired,
		"is broken":                       policy.ErrBundle,
		"fails its own examples":          policy.ErrSmoke,
		"is older":                        policy.ErrRolledBack,
	}
	if errs[what] == nil {
		return nil, fmt.Errorf("what is %q?", what)
	}
	return errs[what], nil
}

// site is the name of the policy that the service is set up for.
const site = "llorch"

// newRelease builds and signs a policy of the grants so far, with a fault if there is to be one.
func (w *world) newRelease(revision uint64, life time.Duration, what string) (r release, err error) {
	key := w.bundles.key
	if key == nil {
		if key, err = newSigner(); err != nil {
			return r, err
		}
		w.bundles.key = key
	}
	grants, err := w.grantsJSON()
	if err != nil {
		return r, err
	}
	b, err := policy.DefaultBundle(grants)
	if err != nil {
		return r, err
	}
	name := site
	switch what {
	case "is signed by somebody else":
		if key, err = newSigner(); err != nil {
			return r, err
		}
	case "is that of another site":
		name = "another"
	case "has already ended":
		life = -time.Hour
	case "is broken":
		b.Wasm = b.Wasm[:len(b.Wasm)/2]
	case "fails its own examples":
		if b.Smoke, err = unmetExample(); err != nil {
			return r, err
		}
	}
	b.Manifest.Metadata.Name, b.Manifest.Revision = name, fmt.Sprint(revision)
	if r.archive, err = b.Marshal(); err != nil {
		return r, err
	}
	w.bundles.end = time.Now().Add(life).Truncate(time.Second).Add(time.Second)
	r.signature, err = key.Sign(r.archive, policy.Statement{Name: name, Revision: revision, NotAfter: w.bundles.end})
	switch what {
	case "is not signed":
		r.signature = nil
	case "was changed after it was signed":
		r.archive[len(r.archive)/2] ^= 1
	}
	return r, err
}

func newSigner() (*sign.Key, error) {
	_, raw, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	file, err := raw.MarshalText()
	if err != nil {
		return nil, err
	}
	return sign.ParseKey(file, "")
}

// unmetExample is an example that the policy must allow, and does not.
func unmetExample() ([]byte, error) {
	return json.Marshal(map[string]any{"cases": []any{map[string]any{"name": "a service that nobody knows", "allow": true, "input": &policy.Request{
		Subject: policy.Subject{Service: "unknown", UID: 1, GID: 1}, Action: policy.LoadSecret,
		Resource: policy.Resource{Source: policy.SourceFile, Path: "/x", Resolved: "/x", Above: []string{"/"}, Facts: policy.FactsObserved},
		Context:  policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
	}}}})
}

func (w *world) bundleFile() string { return filepath.Join(w.dir, "policy", "bundle.tar.gz") }

// publish puts a release where the service looks, each file in one step.
func (w *world) publish(r release) error {
	if err := os.MkdirAll(filepath.Dir(w.bundleFile()), 0o700); err != nil {
		return err
	}
	put := func(name string, content []byte) error {
		if content == nil {
			return os.RemoveAll(name)
		}
		return errors.Join(os.WriteFile(name+".new", content, 0o600), os.Rename(name+".new", name))
	}
	return errors.Join(put(w.bundleFile()+policy.SignatureSuffix, r.signature), put(w.bundleFile(), r.archive))
}

func (w *world) verifier() policy.Verifier {
	return policy.Verifier{
		Keys: []policy.PublicKey{w.bundles.key.Public()}, Name: site,
		StateFile: filepath.Join(w.dir, "state", "revision"), CreateState: true,
	}
}

// startWatching starts the service with what is published, as its main program does.
func (w *world) startWatching() error {
	if err := os.MkdirAll(filepath.Join(w.dir, "state"), 0o700); err != nil {
		return err
	}
	b, err := w.verifier().VerifyFile(w.bundleFile())
	if err != nil {
		return err
	}
	if w.engine, err = policy.Open(context.Background(), b, options()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.bundles.watcher, err = policy.Watch(ctx, policy.WatchConfig{Engine: w.engine, Verifier: w.verifier(), File: w.bundleFile()})
	w.restore = append(w.restore, func() error {
		cancel()
		if w.bundles.watcher != nil {
			<-w.bundles.watcher.Done()
		}
		return nil
	})
	return err
}

func (w *world) inForce(revision uint64, life time.Duration) error {
	r, err := w.newRelease(revision, life, "")
	if err != nil {
		return err
	}
	return errors.Join(w.publish(r), w.startWatching())
}

func (w *world) keep(revision uint64) (err error) {
	w.bundles.kept, err = w.newRelease(revision, time.Hour, "")
	return err
}

func (w *world) replace(revision uint64) error {
	r, err := w.newRelease(revision, time.Hour, "")
	if err != nil {
		return err
	}
	return errors.Join(w.publish(r), w.noticed(func(s policy.Status) bool { return s.Err == nil && s.Info.Signed.Revision == revision }))
}

func (w *world) replaceFaulty(revision uint64, what string) error {
	want, err := fault(what)
	if err != nil {
		return err
	}
	r, err := w.newRelease(revision, time.Hour, what)
	if err != nil {
		return err
	}
	return errors.Join(w.publish(r), w.noticed(func(s policy.Status) bool { return errors.Is(s.Err, want) }))
}

func (w *world) replaceKept(uint64) error {
	return errors.Join(w.publish(w.bundles.kept), w.noticed(func(s policy.Status) bool { return errors.Is(s.Err, policy.ErrRolledBack) }))
}

// noticed waits until the service has looked at what was published. Archive and signature are two files: for a moment they
// do not belong together.
func (w *world) noticed(so func(policy.Status) bool) error {
	for range 100 {
		if so(w.bundles.watcher.Status()) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	s := w.bundles.watcher.Status()
	return fmt.Errorf("the service has not noticed: revision %d is in force, error %w", s.Info.Signed.Revision, s.Err)
}

func (w *world) restartWithKept() error {
	w.stop()
	w.err = errors.Join(w.publish(w.bundles.kept), w.startWatching())
	return nil
}

func (w *world) startWith(revision uint64, what string) error {
	r, err := w.newRelease(revision, time.Hour, what)
	if err != nil {
		return err
	}
	if err := w.publish(r); err != nil {
		return err
	}
	w.err = w.startWatching()
	return nil
}

func (w *world) loadAfterTheEnd(who, name string) error {
	if err := w.load(who, "token", "file", name); err != nil || w.err != nil {
		return errors.Join(err, w.err, errors.New("before the end"))
	}
	time.Sleep(time.Until(w.bundles.end) + time.Millisecond)
	return w.load(who, "token", "file", name)
}

// rules expects that a revision decides, and what the service says about the files.
func (w *world) rules(revision uint64, because error) error {
	w.asserted = true
	s := w.bundles.watcher.Status()
	if s.Info.Signed.Revision != revision || !errors.Is(s.Err, because) {
		return fmt.Errorf("revision %d is in force, error %w", s.Info.Signed.Revision, s.Err)
	}
	if len(w.audit.entries) == 0 {
		return errors.New("nothing was decided")
	}
	if signed := w.audit.entries[0].Bundles["policy"].Signed; signed == nil || signed.Revision != revision {
		return fmt.Errorf("the audit log says that %v decided", signed)
	}
	return nil
}

func (w *world) rulesBecause(revision uint64, what string) error {
	want, err := fault(what)
	if err != nil {
		return err
	}
	return w.rules(revision, want)
}

func (w *world) notStarted(what string) error {
	w.asserted = true
	want, err := fault(what)
	if err != nil {
		return err
	}
	if !errors.Is(w.err, want) || w.engine != nil {
		return fmt.Errorf("the error that the policy %s is expected, it was: %w", what, w.err)
	}
	return nil
}

func (w *world) ended() error {
	w.asserted = true
	if !errors.Is(w.err, policy.ErrExpired) || !errors.Is(w.err, loader.ErrPolicyUnavailable) {
		return fmt.Errorf("the end of the policy is expected, the load gave: %w", w.err)
	}
	return errors.Join(w.hasNothing(), w.untouched(), w.leaksNothing())
}
