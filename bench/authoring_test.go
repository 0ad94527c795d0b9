package main

import (
	"bytes"
	"slices"
	"testing"
)

// CHK-1206: what is measured is 200 tests, and the target 2 s, among the ratios of the run.
func TestTwoHundredTestsAreMeasured(t *testing.T) {
	tests, err := twiceTheTests("../policy/rego")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, source := range tests {
		n += bytes.Count(append([]byte("\n"), source...), []byte("\ntest_"))
	}
	if n != manyTests || manyTests != 200 {
		t.Errorf("%d tests, want 200", n)
	}
	if !slices.ContainsFunc(authoringRatios(), func(r ratio) bool { return r.name == "policy_test_200_s" && r.limit == 2 && !r.atLeast }) {
		t.Error("policy_test_200_s <= 2 is not among the ratios")
	}
}
