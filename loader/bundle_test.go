package loader_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aead.dev/minisign"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/sign"
)

// signedPolicy is the default rules over grants, signed and verified.
func signedPolicy(t *testing.T, grants []byte, revision uint64, end time.Time) *policy.Bundle {
	t.Helper()
	b, err := policy.DefaultBundle(grants)
	if err != nil {
		t.Fatal(err)
	}
	b.Manifest.Metadata.Name, b.Manifest.Revision = "llorch", "built-"+string(rune('a'+revision))
	archive, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, raw, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := raw.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.ParseKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign(archive, policy.Statement{Name: "llorch", Revision: revision, NotAfter: end})
	if err != nil {
		t.Fatal(err)
	}
	b, err = policy.Verifier{Keys: []policy.PublicKey{key.Public()}, Name: "llorch", MinRevision: 1}.Verify(archive, signature)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheAuditLogNamesTheBundleThatDecided: not the one that was in force when the loader was made, and not the one that
// is when the entry is read.
func TestTheAuditLogNamesTheBundleThatDecided(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	end := time.Now().Add(time.Hour)
	ref := w.file("token", fake, 0o600)
	first, second := signedPolicy(t, grantsFor(w.dir, ""), 1, end), signedPolicy(t, []byte("{}"), 2, end)
	engine, err := policy.Open(ctx, first, policy.Options{Interpreter: true, Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	w.use(engine)
	digests := map[uint64]string{}
	named := func(name string, revision uint64) {
		t.Helper()
		digests[revision] = engine.Info().Digest
		var e struct {
			Bundles struct {
				Policy struct{ Revision, Digest, Signed string }
			}
		}
		if err := json.Unmarshal([]byte(w.audit.inputs[len(w.audit.inputs)-1]), &e); err != nil {
			t.Fatal(err)
		}
		want, err := policy.Statement{Name: "llorch", Revision: revision, NotAfter: end}.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if p := e.Bundles.Policy; p.Signed != string(want) || p.Digest != engine.Info().Digest || p.Revision != "built-"+string(rune('a'+revision)) {
			t.Errorf("POL-5011 %s: the entry names %+v", name, p)
		}
	}
	if _, err := w.l.Preflight(ctx, policy.LoadSecret, "", w.file("open", fake, 0o644)); !errors.Is(err, loader.ErrDenied) {
		t.Fatal(err)
	}
	named("a denial on the facts", 1)
	s, err := w.l.LoadSecret(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	w.audit.inputs = w.audit.inputs[:len(w.audit.inputs)-1] // the outcome, which has the verdict's id
	named("an allow", 1)
	if _, err := w.l.LoadSecret(ctx, loader.File("/not/granted")); !errors.Is(err, loader.ErrDenied) {
		t.Fatal(err)
	}
	named("a refusal to ask", 1)
	if err := engine.Activate(ctx, second); err != nil {
		t.Fatal(err)
	}
	if _, err := w.l.LoadSecret(ctx, ref); !errors.Is(err, loader.ErrDenied) {
		t.Fatal(err)
	}
	named("a refusal to ask, by the next", 2)
	if digests[1] == digests[2] {
		t.Error("POL-5011: both bundles have one digest")
	}
	// No bundle has decided about what is no reference.
	if _, err := w.l.LoadSecret(ctx, loader.File("relative")); !errors.Is(err, loader.ErrPath) {
		t.Fatal(err)
	}
	if last := w.audit.inputs[len(w.audit.inputs)-1]; strings.Contains(last, "bundles") {
		t.Errorf("POL-5011: %s", last)
	}
}

func TestAnExpiredPolicyLoadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ref := w.file("token", fake, 0o600)
		end := time.Now().Add(time.Hour)
		engine, err := policy.Open(context.Background(), signedPolicy(t, grantsFor(w.dir, ""), 1, end), policy.Options{Interpreter: true})
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		w.use(engine)
		w.loads(ref, fake)
		time.Sleep(time.Hour + time.Nanosecond)
		s, err := w.l.LoadSecret(context.Background(), ref)
		if s != nil || !errors.Is(err, policy.ErrExpired) || !errors.Is(err, loader.ErrPolicyUnavailable) {
			t.Errorf("POL-5005: %v", err)
		}
		last := w.audit.inputs[len(w.audit.inputs)-1]
		if !strings.Contains(last, "expired") || !strings.Contains(last, "secrets-policy/v1 name=llorch revision=1") {
			t.Errorf("POL-5005: the audit log says %s", last)
		}
	})
}
