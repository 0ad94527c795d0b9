package kubernetes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// TestManifests: CHK-1101, CHK-1102. Manifests in the shape of well-known charts: each says how many loads it has and which
// findings, and beside it stands what they are. -args -write writes the latter, to be read before it is committed.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("testdata/*.[yj]*")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	total := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !Is(data) {
				t.Error("not taken for a manifest")
			}
			loads, findings := NewReader().Read(filepath.Base(file), data)
			total += len(loads)
			header(t, data, loads, findings)
			got, golden := describe(loads, findings), strings.TrimSuffix(file, filepath.Ext(file))+".golden"
			if *write {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || got != string(want) {
				t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
			}
			if strings.Contains(got, "canary") {
				t.Error("a value is repeated")
			}
		})
	}
	t.Logf("%d manifests, %d loads", len(files), total)
}

var (
	saysLoads    = regexp.MustCompile(`loads: ([0-9]+)`)
	saysFindings = regexp.MustCompile(`findings:((?: [a-z_]+)*)`)
)

// header compares with what the manifest says of itself.
func header(t *testing.T, data []byte, loads []descriptor.Load, findings []descriptor.Finding) {
	t.Helper()
	count, rules := saysLoads.FindSubmatch(data), saysFindings.FindSubmatch(data)
	if count == nil || rules == nil {
		t.Fatal("it does not say what is expected")
	}
	if want, _ := strconv.Atoi(string(count[1])); want != len(loads) {
		t.Errorf("%d loads, it says %d", len(loads), want)
	}
	var got []string
	for _, f := range findings {
		got = append(got, f.Rule)
	}
	want := strings.Fields(string(rules[1]))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("findings %q, it says %q", got, want)
	}
}

func describe(loads []descriptor.Load, findings []descriptor.Finding) string {
	var b bytes.Buffer
	for _, l := range loads {
		fmt.Fprintf(&b, "load %s:%d:%d %s\n", l.File, l.Line, l.Column, l.Service)
		for _, v := range append([]descriptor.Load{l}, l.Also...) {
			fmt.Fprintf(&b, "     %s %s%s from %s in %s", v.Source, v.Name, v.Path, v.Origin, v.Container)
			if v.UID >= 0 {
				fmt.Fprintf(&b, " as %d", v.UID)
			}
			if v.UID >= 0 && v.UIDOpen {
				b.WriteString(" which it cannot prove")
			}
			if v.Action != "" {
				fmt.Fprintf(&b, ": %s %s", v.Action, v.Purpose)
			}
			b.WriteByte('\n')
			if v.Doubt != nil {
				fmt.Fprintf(&b, "     undecided: %s\n", v.Doubt.Rule)
			}
			if r := v.Runtime; r != nil {
				fmt.Fprintf(&b, "     %04o %d:%d by %d links", r.File.Mode, r.File.UID, r.File.GID, r.File.Symlinks)
				if r.Barred != "" {
					b.WriteString(", which this user may not read")
				}
				b.WriteByte('\n')
			}
		}
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s:%d:%d %s\n     %s\n", f.Rule, f.File, f.Line, f.Column, f.Service, f.Message)
	}
	return b.String()
}
