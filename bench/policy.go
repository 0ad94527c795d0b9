package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// What is measured of decisions: the default rules over grants for some services, asked by the first of them for a file.
// A deadline of ten seconds keeps a busy machine from deciding.
func policyRatios() []ratio {
	return []ratio{
		{name: "decision_vs_opa", limit: 0.20, measure: versus(false, opaPeer)},
		{name: "decision_deny_vs_opa", limit: 0.40, measure: versus(true, opaPeer)},
		{name: "decision_vs_opa_wasm_sdk", limit: 0.10, measure: versus(false, opaWasmPeer)},
		{name: "memo_vs_cedar", limit: 0.125, measure: memoVersusCedar},
		{name: "decision_10k_services_vs_6", limit: 1.3, measure: manyServices},
		{name: "decision_allocs", limit: 0, measure: decisionAllocations(policy.Options{NoMemo: true})},
		{name: "memo_allocs", limit: 0, measure: decisionAllocations(policy.Options{})},
		{name: "decision_interpreter_us", limit: 2_000, measure: interpreterMicroseconds},
		{name: "activation_compiled_ms", limit: 60, measure: activation(false)},
		{name: "activation_interpreted_ms", limit: 15, measure: activation(true)},
		{name: "engine_mib_6", limit: 20, measure: engineMiB(6)},
		{name: "engine_mib_10k", limit: 120, measure: engineMiB(10_000)},
	}
}

// services is data with one grant for each of so many services.
func services(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"service-%d":[{"id":"token-%d","actions":["load_secret"],"source":"file","paths":["/etc/llorch/secrets/token-%d"]}]`, i, i, i)
	}
	return []byte(`{"secrets":{"services":{` + b.String()[1:] + `}}}`)
}

// request is one that the grants allow, unless the file is to be open to others.
func request(open bool) *policy.Request {
	const path = "/etc/llorch/secrets/token-0"
	r := &policy.Request{
		Subject: policy.Subject{
			Service: "service-0", UID: 1000, GID: 1000, Unit: "service-0.service", Exe: "/usr/bin/service",
			Attested: policy.Attested{UID: "getuid", GID: "getgid", Unit: "cgroup", Exe: "/proc/self/exe"},
		},
		Action: policy.LoadSecret,
		Resource: policy.Resource{
			Source: policy.SourceFile, Path: path, Resolved: path, Facts: policy.FactsObserved,
			Above: []string{"/etc/llorch/secrets", "/etc/llorch", "/etc", "/"},
			File: policy.File{
				Type: "regular", Mode: 0o600, UID: 1000, GID: 1000, OwnerIsMe: true, Size: 65, NLink: 1, Filesystem: "ext4",
				Readers: policy.Principals{UIDs: []int64{1000}}, Writers: policy.Principals{UIDs: []int64{0, 1000}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Host: "host-1", Memory: policy.MemoryLocked},
	}
	if open {
		r.Resource.File.Mode = 0o644
	}
	return r
}

func engine(n int, o policy.Options) (*policy.Engine, error) {
	b, err := policy.DefaultBundle(services(n))
	if err != nil {
		return nil, err
	}
	o.Limits.Deadline, o.Limits.Instances = 10*time.Second, 2
	return policy.Open(context.Background(), b, o)
}

// decider returns a function that decides r, and remembers in failed what went wrong.
func decider(e *policy.Engine, r *policy.Request, allowed bool, failed *error) func() {
	ctx := context.Background()
	return func() {
		d, err := e.Decide(ctx, r)
		if err == nil && d.Allowed() != allowed {
			err = fmt.Errorf("allowed is %v: %q", d.Allowed(), d.Codes())
		}
		if err != nil {
			*failed = err
		}
	}
}

// versus compares a decision that nothing is remembered of, from a typed request to a typed verdict, with a peer's.
func versus(open bool, peer func(r *policy.Request, allowed bool, failed *error) (func(), error)) func() (float64, error) {
	return func() (float64, error) {
		e, err := engine(6, policy.Options{NoMemo: true})
		if err != nil {
			return 0, err
		}
		defer e.Close()
		r := request(open)
		var failed error
		theirs, err := peer(r, !open, &failed)
		if err != nil {
			return 0, err
		}
		value := compare(decider(e, r, !open, &failed), theirs)
		return value, failed
	}
}

func memoVersusCedar() (float64, error) {
	e, err := engine(6, policy.Options{})
	if err != nil {
		return 0, err
	}
	defer e.Close()
	r := request(false)
	var failed error
	cedar, err := cedarPeer(r, &failed)
	if err != nil {
		return 0, err
	}
	value := compare(decider(e, r, true, &failed), cedar)
	return value, failed
}

func manyServices() (float64, error) {
	few, err := engine(6, policy.Options{NoMemo: true})
	if err != nil {
		return 0, err
	}
	defer few.Close()
	many, err := engine(10_000, policy.Options{NoMemo: true})
	if err != nil {
		return 0, err
	}
	defer many.Close()
	r := request(false)
	var failed error
	value := compare(decider(many, r, true, &failed), decider(few, r, true, &failed))
	return value, failed
}

// decisionAllocations counts those of an allow, a denial and a question, once each of them has been seen.
func decisionAllocations(o policy.Options) func() (float64, error) {
	return func() (float64, error) {
		e, err := engine(6, o)
		if err != nil {
			return 0, err
		}
		defer e.Close()
		var failed error
		allow, deny := decider(e, request(false), true, &failed), decider(e, request(true), false, &failed)
		ctx, r := context.Background(), request(false)
		return allocations(func() {
			allow()
			deny()
			if may, err := e.MayAsk(ctx, r); err != nil || !may {
				failed = errors.Join(errors.New("may not ask"), err)
			}
		}), failed
	}
}

func interpreterMicroseconds() (float64, error) {
	e, err := engine(6, policy.Options{NoMemo: true, Interpreter: true})
	if err != nil {
		return 0, err
	}
	defer e.Close()
	var failed error
	return fastest(decider(e, request(false), true, &failed)) * 1e6, failed
}

// activation is the time in milliseconds from a bundle in memory to an engine that decides.
func activation(interpreter bool) func() (float64, error) {
	return func() (float64, error) {
		b, err := policy.DefaultBundle(services(6))
		if err != nil {
			return 0, err
		}
		var failed error
		seconds := fastest(func() {
			e, err := policy.Open(context.Background(), b, policy.Options{Interpreter: interpreter})
			if err != nil {
				failed = err
				return
			}
			e.Close()
		})
		return seconds * 1e3, failed
	}
}
