package policy

import (
	"errors"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy/internal/sandbox"
)

// TestTheOldPolicyEndsWithItsLastDecision: an activation does not wait for decisions that the old policy still makes, and
// the old policy is closed, not left to the collector, when the last of them has ended.
func TestTheOldPolicyEndsWithItsLastDecision(t *testing.T) {
	b, err := DefaultBundle([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), b, Options{Interpreter: true, Limits: Limits{Deadline: 10 * time.Second, LoadingBudget: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	old := e.active.Load().program
	deciding, err := old.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Activate(t.Context(), b); err != nil { // it would never return if it waited
		t.Fatal(err)
	}
	retired := make(chan struct{})
	go func() {
		e.retiring.Wait()
		close(retired)
	}()
	select {
	case <-retired:
		t.Error("POL-5009: the old policy was closed under a decision")
	case <-time.After(20 * time.Millisecond):
	}
	old.Release(deciding, true)
	<-retired
	if _, err := old.Acquire(t.Context()); !errors.Is(err, sandbox.ErrClosed) {
		t.Errorf("POL-5009: the old policy is still open: %v", err)
	}
}
