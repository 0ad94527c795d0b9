package quadlet

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

var write = flag.Bool("write", false, "write what is expected of the files in testdata, to be read before it is committed")

// TestFiles: CHK-1126, CHK-1128. Files in the shape of those that people write: each says how many loads it has and which
// findings, and beside it stands what they are.
func TestFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.container")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			loads, findings := read(filepath.Base(file), data)
			says(t, data, loads, findings)
			got, golden := describe(loads, findings), strings.TrimSuffix(file, ".container")+".golden"
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
}

func read(name string, data []byte) ([]descriptor.Load, []descriptor.Finding) {
	return Read(Unit{Name: name, Files: []systemd.File{{Name: name, Data: data}}})
}

var (
	saysLoads    = regexp.MustCompile(`loads: ([0-9]+)`)
	saysFindings = regexp.MustCompile(`findings:((?: [a-z_]+)*)`)
)

func says(t *testing.T, data []byte, loads []descriptor.Load, findings []descriptor.Finding) {
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
		t.Errorf("findings: %s\nit says   %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

func describe(loads []descriptor.Load, findings []descriptor.Finding) string {
	var b bytes.Buffer
	for _, l := range loads {
		fmt.Fprintf(&b, "load %s:%d:%d %s\n     %s %s %s from %s", l.File, l.Line, l.Column, l.Service, l.Source, l.Name, l.Path, l.Origin)
		if l.UID >= 0 {
			fmt.Fprintf(&b, " as %d", l.UID)
		}
		if l.UID >= 0 && l.UIDOpen {
			b.WriteString(" which it cannot prove")
		}
		if l.Action != "" {
			fmt.Fprintf(&b, ": %s %s", l.Action, l.Purpose)
		}
		b.WriteByte('\n')
		if l.Doubt != nil {
			fmt.Fprintf(&b, "     undecided: %s\n", l.Doubt.Rule)
		}
		if r := l.Runtime; r != nil {
			fmt.Fprintf(&b, "     %04o %d:%d", r.File.Mode, r.File.UID, r.File.GID)
			if r.Barred != "" {
				b.WriteString(", which this user may not read")
			}
			b.WriteByte('\n')
		}
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s %s:%d:%d %s\n     %s\n", f.Severity, f.Rule, f.File, f.Line, f.Column, f.Service, f.Message)
	}
	return b.String()
}

// TestDropIns: CHK-1126. Drop-ins add to the file, and take back what stands before.
func TestDropIns(t *testing.T) {
	loads, findings := Read(Unit{Name: "app.container", Files: []systemd.File{
		{Name: "app.container", Data: []byte("[Container]\nImage=x\nSecret=a\nUser=5\n")},
		{Name: "app.container.d/10.conf", Data: []byte("[Container]\nSecret=\nSecret=b\n")},
		{Name: "app.container.d/20.conf", Data: []byte("[Container]\nSecret=c\nUser=6\n")},
	}})
	if len(findings) != 0 || len(loads) != 2 || loads[0].Origin != "podman/b" || loads[1].Origin != "podman/c" || loads[0].UID != 6 || loads[1].File != "app.container.d/20.conf" {
		t.Errorf("%+v, %+v", loads, findings)
	}
}

// TestUsers: CHK-1126. Where podman starts the services of a user, no uid can be proven.
func TestUsers(t *testing.T) {
	f := systemd.File{Name: "a.container", Data: []byte("[Container]\nImage=x\nUser=5\nSecret=a\n")}
	for user, want := range map[bool]bool{false: false, true: true} {
		if loads, _ := Read(Unit{Name: "a.container", User: user, Files: []systemd.File{f}}); len(loads) != 1 || loads[0].UIDOpen != want {
			t.Errorf("%v: %+v", user, loads)
		}
	}
}

// TestHostile: CHK-1130. What is made to hurt is told about with its place, in time.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct {
		data, message string
		line, column  int
	}{
		"NUL":                     {"[Container]\nImage=x\nSecret=a\x00canary\n", "NUL", 3, 1},
		"not UTF-8":               {"[Container]\n  Secret=\xe9canary\n", "UTF-8", 2, 3},
		"no section":              {"Secret=canary\n", "before any section", 1, 1},
		"a header not closed":     {"[Container\nSecret=canary\n", "section header", 1, 1},
		"no equals sign":          {"[Container]\nImage=x\ncanary\n", `"="`, 3, 1},
		"a continuation":          {"[Container]\nImage=x\nSecret\\\n\\\n", `"="`, 3, 1},
		"a key of nothing":        {"[Container]\n=canary\n", "key", 2, 1},
		"an escape in a name":     {"[Container]\nImage=x\nSecret=a\x1b[2Jcanary\n", "name of the secret", 3, 8},
		"a path as a name":        {"[Container]\nImage=x\nSecret=/etc/canary\n", "name of the secret", 3, 8},
		"an option of nothing":    {"[Container]\nImage=x\nSecret=a,,canary\n", "an option", 3, 8},
		"a large number":          {"[Container]\nImage=x\nSecret=a,uid=99999999999\n", "an option", 3, 8},
		"an unnamed service":      {"[Unit]\nX-Secretcheck-Service=\n[Container]\n", "Image=", 1, 1},
		"a million continuations": {"[Container]\nImage=x\nSecret=" + strings.Repeat("a\\\n", 1<<18) + "\n", "more than 2000", 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			loads, findings := read("x.container", []byte(c.data))
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			i := slices.IndexFunc(findings, descriptor.Finding.Bad)
			if i < 0 || len(loads) != 0 {
				t.Fatalf("%+v, %+v", loads, findings)
			}
			if f := findings[i]; !strings.Contains(f.Message, c.message) || f.Line != c.line || f.Column != c.column || f.Fix == "" {
				t.Errorf("%d:%d %s, fix %q", f.Line, f.Column, f.Message, f.Fix)
			}
			if strings.Contains(fmt.Sprint(findings), "canary") {
				t.Errorf("a value is repeated: %+v", findings)
			}
		})
	}
}

// TestManifests: CHK-1126. What a .kube file names.
func TestManifests(t *testing.T) {
	list, bad := Manifests(systemd.File{Name: "a.kube", Data: []byte("[Kube]\nYaml=a.yaml\nYaml=/b.yaml\n")})
	if bad != nil || len(list) != 2 || list[0].Path != "a.yaml" || list[1].Line != 3 || list[1].Column != 6 {
		t.Errorf("%+v, %+v", list, bad)
	}
	for _, data := range []string{"[Kube]\n", "[Kube]\nYaml=a\nYaml=\n", "[Container]\nYaml=a\n", "[Kube]\nx\n"} {
		if list, bad := Manifests(systemd.File{Name: "a.kube", Data: []byte(data)}); bad == nil || !bad.Bad() || bad.File != "a.kube" {
			t.Errorf("%q: %+v", data, list)
		}
	}
}

// FuzzRead holds for every file: twice the same, each place is in the file, and no message is made of what it says.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.container")
	if err != nil || len(files) < 10 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, c := range recorded {
		f.Add([]byte("[Container]\nImage=x\n" + c.lines + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		loads, findings := read("x.container", data)
		again, same := read("x.container", data)
		if !reflect.DeepEqual(loads, again) || !reflect.DeepEqual(findings, same) {
			t.Fatal("not the same twice")
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, l := range loads {
			if !descriptor.ValidService(l.Service) || l.Line < 1 || l.Line > lines || l.Column < 1 || !utf8.ValidString(l.Name+l.Path+l.Origin) ||
				l.Path != "" && filepath.Clean(l.Path) != l.Path {
				t.Errorf("load %+v of %d lines", l, lines)
			}
		}
		for _, f := range findings {
			if f.Rule == "" || f.Message == "" || len(f.Message) > 500 || f.Line < 1 || f.Line > lines || f.Column < 1 {
				t.Errorf("finding %+v of %d lines", f, lines)
			}
		}
	})
}
