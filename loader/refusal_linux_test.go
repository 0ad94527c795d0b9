package loader_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// TestRefusalHoldsTheFact: SVC-1007: who runs the service learns from the error alone what to change.
func TestRefusalHoldsTheFact(t *testing.T) {
	me := strconv.Itoa(os.Geteuid())
	for name, tt := range map[string]struct {
		action  policy.Action
		purpose string
		make    func(w *world) loader.Ref
		want    string
	}{
		"the action has no grant": {
			policy.LoadKey, "", func(*world) loader.Ref { return loader.File("/dev/null") },
			`service "queen-rbee" has no grant for it (action load_key); ask the security team for one, or correct service, reference or action [no_grant]`,
		},
		"the purpose has no grant": {
			policy.DeriveKey, "a-v1", func(w *world) loader.Ref { return w.file("token", fake, 0o600) },
			`has no grant for it (action derive_key, purpose "a-v1");`,
		},
		"foreign owner": {
			policy.LoadSecret, "", foreignOwner,
			"the file belongs neither to root nor to this service (owner uid 12345, service uid " + me + ") [foreign_owner]",
		},
		"foreign directory": {policy.LoadSecret, "", foreignDirectory, "is writable to them (uid 12345) [writable_by_others]"},
		"directory of everyone": {policy.LoadSecret, "", func(w *world) loader.Ref {
			ref := w.file("d/token", fake, 0o600)
			must(w, os.Chmod(w.dir+"/d", 0o777))
			return ref
		}, "(everyone, gid "},
		"open credential": {policy.LoadSecret, "", func(w *world) loader.Ref {
			w.file("token", fake, 0o444)
			must(w, os.Rename(w.dir+"/token", w.dir+"/api_token"))
			w.t.Setenv("CREDENTIALS_DIRECTORY", w.dir)
			return loader.Credential("api_token")
		}, "can read it (everyone, gid "},
		"too large": {
			policy.LoadKey, "", func(w *world) loader.Ref { return w.file("token", strings.Repeat("0", 2000), 0o600) },
			"the file is too large (2000 bytes) [too_large]",
		},
	} {
		t.Run("SVC-1007 "+name, func(t *testing.T) {
			if strings.HasPrefix(name, "foreign") && !asnobody.Root(t) {
				return
			}
			w := newWorld(t)
			_, err := w.l.Preflight(context.Background(), tt.action, tt.purpose, tt.make(w))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestRefusalTellsNothingOutside: SVC-1007: what lies outside of a grant keeps its facts to itself.
func TestRefusalTellsNothingOutside(t *testing.T) {
	w := newWorld(t)
	must(w, os.Symlink("/proc/self/mem", w.dir+"/link"))
	_, err := w.l.LoadSecret(context.Background(), loader.File(w.dir+"/link"))
	if want := "path validation failed: its real path is outside the grant [outside_grant]"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v\nwant %s", err, want)
	}
}

// TestMistakesOfTheCaller: SVC-1007: what a program gave wrongly is told by the names that it used.
func TestMistakesOfTheCaller(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	_, none := w.l.LoadSecret(ctx)
	_, noPurpose := w.l.DeriveKey(ctx, "", w.file("token", fake, 0o600))
	for want, err := range map[string]error{
		"load nothing: path validation failed: no reference: use File, Credential or Env to make one": none,
		"a key is derived for a purpose, in UTF-8, and nothing else has one":                          noPurpose,
	} {
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("error %v\nwant %s", err, want)
		}
	}
}
