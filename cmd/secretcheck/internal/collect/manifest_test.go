//go:build linux

package collect

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
)

const podManifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {automountServiceAccountToken: false, containers: " +
	"[{name: c, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}\n"

const podInBraces = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": {"automountServiceAccountToken": false}}`

// Evidence for CHK-1101.
func TestCHK1101TheContentSaysWhatAFileIs(t *testing.T) {
	dir := files(t, map[string]string{
		"pod.yaml": podManifest, "pod.json": podInBraces, "package.json": "{}", "broken.json": "{", "values.yaml": "a: 1",
		"list.yml": "services: []", "template.yaml": "{{ if x }}\n" + podManifest + "{{ end }}\n", "link.json": "->pod.json", "mount/gone.json": "->nowhere",
		"deep/pod.yml": podManifest,
	})
	in := Paths([]string{dir, filepath.Join(dir, "pod.yaml")}, Options{})
	var rules []string
	for _, f := range in.Findings {
		rules = append(rules, filepath.Base(f.File)+":"+f.Rule)
	}
	slices.Sort(rules)
	if want := []string{"template.yaml:unparsable", "values.yaml:not_a_descriptor"}; !slices.Equal(rules, want) {
		t.Errorf("findings %q", rules)
	}
	if len(in.Loads) != 2 || in.Descriptors != 5 {
		t.Errorf("%d loads, %d descriptors", len(in.Loads), in.Descriptors)
	}
	for name, want := range map[string]string{"package.json": "no known kind", "mount/gone.json": "no such file"} {
		in := Paths([]string{filepath.Join(dir, name)}, Options{})
		if len(in.Findings) != 1 || !in.Findings[0].Bad() || !strings.Contains(in.Findings[0].Message, want) {
			t.Errorf("%s: %+v", name, in.Findings)
		}
	}
}

// Evidence for CHK-1109.
func TestCHK1109LargeFiles(t *testing.T) {
	dir := files(t, map[string]string{"pod.yaml": podManifest, "list.yaml": strings.Repeat("services: []\n", 90000)})
	large := filepath.Join(dir, "large.json")
	if err := errors.Join(os.WriteFile(large, []byte(podInBraces), 0o600), os.Truncate(large, 100<<20)); err != nil { // 100 MB, sparse
		t.Fatal(err)
	}
	in := Paths([]string{dir}, Options{})
	if len(in.Loads) != 1 || len(in.Findings) != 2 || in.Findings[0].Message != "no Kubernetes manifest that can be read: larger than 16777216 bytes" ||
		in.Findings[1].Message != "larger than 1048576 bytes" {
		t.Errorf("%+v", in)
	}
	if in := Paths([]string{large}, Options{}); len(in.Findings) != 1 || !in.Findings[0].Bad() {
		t.Errorf("%+v", in.Findings)
	}
}

// Evidence for CHK-1101.
func TestCHK1101WhatIsPipedIn(t *testing.T) {
	in := Paths([]string{Stdin, Stdin}, Options{Stdin: strings.NewReader(podManifest)})
	if len(in.Loads) != 1 || in.Loads[0].File != "-" || in.Descriptors != 1 || len(in.Files) != 0 {
		t.Errorf("%+v", in)
	}
	for name, in := range map[string]struct {
		bytes string
		err   error
		want  string
	}{
		"nothing":  {"", nil, "the file is empty"},
		"too much": {strings.Repeat("x", kubernetes.MaxFile+1), nil, "larger than"},
		"an error": {podManifest, errors.New("broken pipe"), "broken pipe"},
	} {
		r := iotest.DataErrReader(strings.NewReader(in.bytes))
		if in.err != nil {
			r = iotest.ErrReader(in.err)
		}
		got := Paths([]string{Stdin}, Options{Stdin: r})
		if len(got.Findings) != 1 || !got.Findings[0].Bad() || !strings.Contains(got.Findings[0].Message, in.want) {
			t.Errorf("%s: %+v", name, got.Findings)
		}
	}
}
