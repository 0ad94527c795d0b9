package policy_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"

	"github.com/llorch/secrets-management/policy"
)

// A service that follows the policy which the security team signs. The public key is part of the service; the state
// file lies where only the service can write, not beside the bundle.
func ExampleWatch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	key, err := policy.ParsePublicKey("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")
	if err != nil {
		log.Fatal(err)
	}
	engine := new(policy.Engine) // denies everything until there is a policy
	defer engine.Close()
	_, err = policy.Watch(ctx, policy.WatchConfig{
		Engine: engine,
		File:   "/usr/share/llorch/policy.tar.gz", // and policy.tar.gz.minisig
		Verifier: policy.Verifier{
			Keys: []policy.PublicKey{key}, Name: "llorch", MinRevision: 7,
			StateFile: "/var/lib/queen-rbee/policy.state", // the first start on a host sets CreateState too
		},
		Notify: func(s policy.Status) {
			slog.Info("policy", "revision", s.Info.Signed.Revision, "since", s.Info.Since, "error", s.Err)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// engine is what loader.Config.Policy takes
}

// The rules that are built in, with the grants of a service: no compiler and no bundle is needed.
func ExampleDefault() {
	engine, err := policy.Default([]byte(`{"secrets": {"services": {"queen-rbee": [
		{"id": "token", "actions": ["load_secret"], "source": "file", "paths": ["/etc/llorch/secrets/api-token"]}]}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	for _, service := range []string{"queen-rbee", "another"} {
		decision, err := engine.Ask(context.Background(), &policy.Request{
			Subject:  policy.Subject{Service: service},
			Action:   policy.LoadSecret,
			Resource: policy.Resource{Source: policy.SourceFile, Path: "/etc/llorch/secrets/api-token", Facts: policy.FactsObserved},
			Context:  policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
		})
		fmt.Println(service, decision.Allowed(), err)
	}
	// Output:
	// queen-rbee true <nil>
	// another false <nil>
}
