package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/llorch/secrets-management/policy/rego"
)

// What an author waits for: 200 tests, those of the default rules and some of them once more under another name, in both
// evaluators.
func authoringRatios() []ratio {
	return []ratio{{name: "policy_test_200_s", limit: 2, measure: policyTests}}
}

const manyTests = 200

func policyTests() (float64, error) {
	tests, err := twiceTheTests("../policy/rego")
	if err != nil {
		return 0, err
	}
	start := time.Now()
	report, err := rego.Test(context.Background(), rego.Source{}, tests, rego.TestOptions{})
	took := time.Since(start).Seconds()
	if err != nil {
		return 0, err
	}
	if passed := report.Count(rego.Passed); passed != manyTests || len(report.Tests) != manyTests {
		return 0, fmt.Errorf("%d of %d tests passed, want %d", passed, len(report.Tests), manyTests)
	}
	return took, nil
}

// twiceTheTests has 200 tests in all.
func twiceTheTests(dir string) (map[string][]byte, error) {
	tests := map[string][]byte{}
	for _, name := range []string{"load_test.rego", "fixtures_test.rego"} {
		source, err := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // of this repository
		if err != nil {
			return nil, err
		}
		tests[name] = source
	}
	testName := regexp.MustCompile(`(?m)^test_`)
	n := len(testName.FindAll(tests["load_test.rego"], -1))
	tests["again_test.rego"] = testName.ReplaceAllFunc(tests["load_test.rego"], func([]byte) []byte {
		if n++; n <= manyTests {
			return []byte("test_again_")
		}
		return []byte("no_test_")
	})
	return tests, nil
}
