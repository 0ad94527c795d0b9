package policy_test

import (
	"strings"
	"testing"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/internal/tinypolicy"
)

// longService is a service that tiny policies let do anything: they look at the length of their input alone.
var longService = strings.Repeat("s", 3000)

func longRequest() *policy.Request {
	r := goodRequest()
	r.Subject.Service = longService
	return r
}

// tinyPolicy is a bundle that costs little to activate. It allows longService everything, by the one grant, and denies the
// rest.
func tinyPolicy(grant string) *policy.Bundle {
	return &policy.Bundle{Wasm: tinypolicy.Wasm(grant), Manifest: policy.NewManifest("", grant)}
}

func TestTinyPolicy(t *testing.T) { // what other tests rely on
	for _, interpreter := range []bool{true, false} {
		e, err := policy.Open(t.Context(), tinyPolicy("g-1"), policy.Options{Interpreter: interpreter, Limits: patient.Limits})
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Decide(t.Context(), longRequest())
		if err != nil || !d.Allowed() || d.Grants()[0] != "g-1" {
			t.Errorf("%+v %v", d, err)
		}
		if d, err := e.Decide(t.Context(), goodRequest()); err != nil || d.Allowed() {
			t.Errorf("%+v %v", d, err)
		}
		e.Close()
	}
}
