//go:build linux

// Package features runs the scenarios of the *.feature files: the behaviour of the library in the words of those who
// operate it, on real files with real modes and the real default rules. It runs where the library gives all of its
// promises, on Linux.
package features

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/internal/realsystemd"
)

// The scenarios also run a second time, as another user and from a place without these files: hence they are embedded.
//
//go:embed *.feature
var features embed.FS

// needsSystemd is the feature that boots a systemd, which takes root.
const needsSystemd = "systemd.feature"

// TestFeatures runs every scenario. FEATURES_JUNIT=FILE writes a JUnit report as well; a relative name counts from this
// folder.
func TestFeatures(t *testing.T) {
	all, err := load(features)
	if err != nil {
		t.Fatal(err)
	}
	// Without a systemd to boot the rest is run, and a line says so; CI has to have one.
	if !realsystemd.Available(t) {
		all = slices.DeleteFunc(all, func(f godog.Feature) bool { return f.Name == needsSystemd })
	}
	format := "pretty"
	if file := os.Getenv("FEATURES_JUNIT"); file != "" {
		format += ",junit:" + file
		// The second run has not the right to write to the file of the first.
		if err := os.Unsetenv("FEATURES_JUNIT"); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(godog.Options{TestingT: t, Format: format, FeatureContents: all}); err != nil {
		t.Error(err)
	}
}

// load reads the features at the top of tree.
func load(tree fs.FS) ([]godog.Feature, error) {
	names, err := fs.Glob(tree, "*.feature")
	if err != nil {
		return nil, err
	}
	var all []godog.Feature
	for _, name := range names {
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return nil, err
		}
		all = append(all, godog.Feature{Name: name, Contents: content})
	}
	return all, nil
}

// run runs features and fails unless each of them has a scenario and every scenario passed. godog itself passes when
// there is nothing to run.
func run(o godog.Options) error {
	ran := map[string]int{}
	o.Strict, o.Randomize, o.NoColors = true, -1, true
	if o.Output == nil {
		o.Output = os.Stdout
	}
	suite := godog.TestSuite{Name: "secrets-management", Options: &o, ScenarioInitializer: func(sc *godog.ScenarioContext) {
		sc.After(func(ctx context.Context, s *godog.Scenario, _ error) (context.Context, error) {
			ran[s.Uri]++
			return ctx, nil
		})
		initialize(sc)
	}}
	status := suite.Run()
	for _, f := range o.FeatureContents {
		if ran[f.Name] == 0 {
			return fmt.Errorf("%s: no scenario ran", f.Name)
		}
	}
	switch {
	case len(o.FeatureContents) == 0:
		return errors.New("no features")
	case status != 0:
		return fmt.Errorf("a scenario failed: status %d", status)
	}
	return nil
}

// inner runs one feature apart from the tests, for tests of the machinery.
func inner(text string) (output string, err error) {
	var out bytes.Buffer
	err = run(godog.Options{
		Format: "pretty", Output: io.Writer(&out),
		FeatureContents: []godog.Feature{{Name: "inner.feature", Contents: []byte(text)}},
	})
	return out.String(), err
}
