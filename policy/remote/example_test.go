package remote_test

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/remote"
	"github.com/llorch/secrets-management/secret"
)

// A service that follows the policy which the security team publishes on a web server.
func ExampleWatch() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	key, err := policy.ParsePublicKey("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")
	if err != nil {
		log.Fatal(err)
	}
	engine := new(policy.Engine) // denies everything until there is a policy
	defer engine.Close()
	_, err = remote.Watch(ctx, remote.WatchConfig{
		Engine: engine,
		URL:    "https://policy.llorch.example/queen-rbee.tar.gz", // and queen-rbee.tar.gz.minisig
		Cache:  "/var/cache/queen-rbee",                           // systemd: CacheDirectory=queen-rbee, CacheDirectoryMode=0700
		Verifier: policy.Verifier{
			Keys: []policy.PublicKey{key}, Name: "llorch", MinRevision: 7,
			StateFile: "/var/lib/queen-rbee/policy.state", // StateDirectory=queen-rbee; the first start on a host sets CreateState too
		},
		Notify: func(s remote.Status) {
			slog.Info("policy", "revision", s.Info.Signed.Revision, "confirmed", s.Confirmed, "error", s.Err)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// engine is what loader.Config.Policy takes
}

// A server that wants a token. A policy of the program's own, with one grant, lets the service load it: the engine that is
// watched has nothing yet when the token is needed first.
func ExampleWatch_token() {
	bootstrap, err := policy.Default([]byte(`{"secrets": {"services": {"queen-rbee": [
		{"id": "policy-token", "actions": ["load_secret"], "source": "credential", "names": ["policy-token"]}]}}}`))
	if err != nil {
		log.Fatal(err)
	}
	defer bootstrap.Close()
	l, err := loader.New(loader.Config{
		Service: "queen-rbee", Policy: bootstrap, Audit: loader.NewAuditWriter(os.Stderr),
	})
	if err != nil {
		log.Fatal(err)
	}
	config := remote.WatchConfig{
		Token: func(ctx context.Context) (*secret.Secret, error) {
			return l.LoadSecret(ctx, loader.Credential("policy-token"))
		},
		// and what is in the example before
	}
	_ = config
}
