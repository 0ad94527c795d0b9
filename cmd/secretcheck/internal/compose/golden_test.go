package compose

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

var write = flag.Bool("write", false, "write what is expected of the projects in testdata, to be read before it is committed")

// TestProjects: CHK-1120, CHK-1121. Projects in the shape of well-known ones: each says how many loads it has and which
// findings, and beside it stands what they are.
func TestProjects(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*")
	if err != nil || len(dirs) < 25 {
		t.Fatalf("%d projects, %v", len(dirs), err)
	}
	total := 0
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			p := inFolder(t, dir)
			if !Is(p.Files[0].Data) {
				t.Error("not taken for a Compose file")
			}
			r := Read(p)
			total += len(r.Loads)
			says(t, p.Files[0].Data, r)
			got, golden := describe(r), filepath.Join(dir, "golden.txt")
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
	t.Logf("%d projects, %d loads", len(dirs), total)
}

// inFolder is the project that docker compose would take in a folder.
func inFolder(t testing.TB, dir string) Project {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	read := func(p string) ([]byte, error) {
		info, err := os.Stat(p)
		if err != nil || info.Mode().IsRegular() {
			return os.ReadFile(p)
		}
		return nil, fs.ErrInvalid
	}
	files, err := Default(dir, read)
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	p := Project{Within: dir, Read: read, Name: func(p string) string {
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		return rel
	}}
	for _, f := range files {
		data, err := read(f)
		if err != nil {
			t.Fatal(err)
		}
		p.Files = append(p.Files, File{f, data})
	}
	return p
}

var (
	saysLoads    = regexp.MustCompile(`loads: ([0-9]+)`)
	saysFindings = regexp.MustCompile(`findings:((?: [a-z_]+)*)`)
)

// says compares with what the project says of itself.
func says(t *testing.T, data []byte, r Result) {
	t.Helper()
	count, rules := saysLoads.FindSubmatch(data), saysFindings.FindSubmatch(data)
	if count == nil || rules == nil {
		t.Fatal("it does not say what is expected")
	}
	if want, _ := strconv.Atoi(string(count[1])); want != len(r.Loads) {
		t.Errorf("%d loads, it says %d", len(r.Loads), want)
	}
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Rule)
	}
	want := strings.Fields(string(rules[1]))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("findings: %s\nit says   %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

func describe(r Result) string {
	var b bytes.Buffer
	for _, l := range r.Loads {
		fmt.Fprintf(&b, "load %s:%d:%d %s\n", l.File, l.Line, l.Column, l.Service)
		for _, v := range append([]descriptor.Load{l}, l.Also...) {
			fmt.Fprintf(&b, "     %s from %s", v.Path, v.Origin)
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
			if v.Bind {
				b.WriteString("     the file of the host\n")
			}
			if f := v.Runtime; f != nil {
				fmt.Fprintf(&b, "     %04o %d:%d on %s", f.File.Mode, f.File.UID, f.File.GID, f.File.Filesystem)
				if f.Barred != "" {
					b.WriteString(", which this user may not read")
				}
				b.WriteByte('\n')
			}
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s:%d:%d %s\n     %s\n", f.Severity, f.Rule, f.File, f.Line, f.Column, f.Service, f.Message)
	}
	return b.String()
}
