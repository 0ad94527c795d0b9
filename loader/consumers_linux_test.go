package loader_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

// consumers is a world with the grants of the four services under the name of one.
func consumers(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	d, err := json.Marshal(dir)
	if err != nil {
		t.Fatal(err)
	}
	return newWorldIn(t, dir, []byte(`{"secrets":{"services":{"`+service+`":[
	 {"id":"files","actions":["load_secret","load_key"],"source":"file","dirs":[`+string(d)+`]},
	 {"id":"credentials","actions":["load_secret","load_key"],"source":"credential","names":["api_token","worker_token","seal_key"]},
	 {"id":"seal","actions":["derive_key"],"source":"file","dirs":[`+string(d)+`],"purposes":["`+kdf.SealKeyV1+`"]}]}}}`))
}

// TestOrchestratorFindsWhatItNeeds: SM-INTEG-6001, EXP-ORCH-2002.
func TestOrchestratorFindsWhatItNeeds(t *testing.T) {
	w := consumers(t)
	standard := w.file("api-token", fake+"\n", 0o600)
	other := w.file("other-token", "fake-other-token-for-tests", 0o600)
	w.loads(loader.FileFromEnv("LLORCH_API_TOKEN_FILE", w.dir+"/api-token"), fake)
	t.Setenv("LLORCH_API_TOKEN_FILE", w.dir+"/other-token")
	w.loads(loader.FileFromEnv("LLORCH_API_TOKEN_FILE", w.dir+"/api-token"), "fake-other-token-for-tests")
	s, err := w.l.LoadSecret(context.Background(), standard)
	must(w, err)
	defer s.Close()
	if !s.Verify(fake) || s.Verify(fake+"x") || s.Verify("") {
		t.Error("a Bearer token is not told from another")
	}
	must(w, os.Chmod(w.dir+"/other-token", 0o644))
	if s, err := w.l.LoadSecret(context.Background(), other); s != nil || !errors.Is(err, loader.ErrPermissionsTooOpen) {
		t.Errorf("error %v", err)
	}
	w.leaksNothing(nil)
}

// TestPoolAndWorkerFindWhatTheyNeed: SM-INTEG-6002, EXP-POOL-3002, EXP-WORKER-6001. The credential counts where there is
// one, then the file.
func TestPoolAndWorkerFindWhatTheyNeed(t *testing.T) {
	for name, variable := range map[string]string{"api_token": "LLORCH_API_TOKEN_FILE", "worker_token": "WORKER_API_TOKEN_FILE"} {
		w := consumers(t)
		w.file("token", fake, 0o600)
		t.Setenv(variable, w.dir+"/token")
		t.Setenv("CREDENTIALS_DIRECTORY", w.dir+"/credentials")
		refs := []loader.Ref{loader.Credential(name), loader.FileFromEnv(variable, "/etc/llorch/secrets/none")}
		for _, want := range []string{fake, "fake-credential-for-tests"} {
			s, err := w.l.LoadSecret(context.Background(), refs...)
			must(w, err)
			holds(t, s, want)
			must(w, s.Close())
			w.file("credentials/"+name, "fake-credential-for-tests", 0o400)
		}
	}
}

// TestSealKeyIsFoundInOrder: EXP-VRAM-5001. From its file, else derived from the worker's token, else the credential; what one
// gives seals and checks.
func TestSealKeyIsFoundInOrder(t *testing.T) {
	w := consumers(t)
	ctx := context.Background()
	w.file("credentials/seal_key", fakeHex, 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", w.dir+"/credentials")
	key, err := w.l.LoadKey(ctx, loader.File(w.dir+"/seal-key"), loader.Credential("seal_key"))
	must(w, err)
	defer key.Close()
	token := w.file("worker-token", fake, 0o600)
	derived, err := w.l.DeriveKey(ctx, kdf.SealKeyV1, token)
	must(w, err)
	defer derived.Close()
	message := []byte("shard-1|digest|1700000000|0")
	mac, err := key.Sign(message)
	must(w, err)
	if !key.VerifyMAC(message, mac) || key.VerifyMAC([]byte("shard-1|digest|1700000000|1"), mac) || derived.VerifyMAC(message, mac) {
		t.Error("a seal is not told from another")
	}
	w.leaksNothing(nil)
}

// TestIsAbsent: EXP-VRAM-5001, SVC-7014. Only what is there nowhere leads on to another source.
func TestIsAbsent(t *testing.T) {
	w := consumers(t)
	ctx := context.Background()
	t.Setenv("CREDENTIALS_DIRECTORY", w.dir+"/credentials")
	open, absent := w.file("open", fake, 0o644), loader.File(w.dir+"/absent")
	loaded := func(refs ...loader.Ref) error {
		s, err := w.l.LoadSecret(ctx, refs...)
		s.Close()
		return err
	}
	var s, s2 *secret.Secret
	both := w.l.LoadAll(ctx, loader.Request{Secret: &s, Refs: []loader.Ref{absent}}, loader.Request{Secret: &s2, Refs: []loader.Ref{open}})
	for name, tt := range map[string]struct {
		err    error
		absent bool
	}{
		"a file":             {loaded(absent), true},
		"a credential":       {loaded(loader.Credential("api_token")), true},
		"both":               {loaded(loader.Credential("api_token"), absent), true},
		"wrapped":            {fmt.Errorf("service: %w", loaded(absent)), true},
		"two loads":          {errors.Join(loaded(absent), loaded(loader.Credential("api_token"))), true},
		"too open":           {loaded(open), false},
		"absent, then open":  {loaded(absent, open), false},
		"no grant":           {loaded(loader.File("/nowhere")), false},
		"one of two loads":   {both, false},
		"joined with others": {errors.Join(loaded(absent), errors.New("disk full")), false},
		"another's":          {os.ErrNotExist, false},
		"nothing":            {nil, false},
	} {
		if got := loader.IsAbsent(tt.err); got != tt.absent {
			t.Errorf("%s: %v for %v", name, got, tt.err)
		}
	}
	w.audit.fail = func(int) error { return errors.New("disk full") }
	if err := loaded(absent); loader.IsAbsent(err) || !errors.Is(err, loader.ErrAudit) {
		t.Errorf("what could not be recorded: %v", err)
	}
}
