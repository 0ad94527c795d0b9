//go:build linux

package collect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files makes a tree; a value of "->X" is a symbolic link, "/" a directory.
func files(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range tree {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "->"); link {
			err = os.Symlink(target, p)
		} else if content == "/" {
			err = os.Mkdir(p, 0o700)
		} else {
			err = os.WriteFile(p, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const one = "[Service]\nLoadCredential=a:/x\n"

// Evidence for CHK-1031.
func TestCHK1031Folders(t *testing.T) {
	dir := files(t, map[string]string{
		"a.service": one, "deep/er/b.service": one, "c.socket": one, "d.service.d/x.conf": one, "a.service.d/y.conf": "[Service]\nLoadCredential=b:/x\n",
		"alias.service": "->a.service", "b.wants/a.service": "->../a.service", "b.wants/z.service": one, "t@i.service": "->a.service", "gone.service": "->nowhere",
		"e.service": "->/dev/null", "plain": "->a.service", "loop": "->.",
	})
	in := Paths([]string{dir, filepath.Join(dir, "a.service")}, Options{})
	got := map[string]int{}
	for _, l := range in.Loads {
		got[l.Unit+" "+l.Name]++
	}
	want := []string{"a.service a", "a.service b", "b.service a", "d.service a", "t@i.service a"}
	for _, w := range want {
		if got[w] != 1 {
			t.Errorf("%s is loaded %d times", w, got[w])
		}
	}
	if len(got) != len(want) || in.Descriptors != 5 {
		t.Errorf("%d descriptors, loads %v", in.Descriptors, got)
	}
	rules := ""
	for _, f := range in.Findings {
		rules += " " + filepath.Base(f.File) + ":" + f.Rule
	}
	if rules != " c.socket:not_judged e.service:masked gone.service:unreadable" {
		t.Errorf("findings%s", rules)
	}
}

// Evidence for CHK-1005.
func TestCHK1005NothingIsNotADescriptor(t *testing.T) {
	in := Paths([]string{files(t, map[string]string{"README": "x", "empty.service.d": "/", "x.yaml": "kind: Pod"})}, Options{})
	if in.Descriptors != 0 || len(in.Loads) != 0 || len(in.Findings) != 1 {
		t.Errorf("%+v", in)
	}
}

// Evidence for CHK-1007.
func TestCHK1007NamesInReports(t *testing.T) {
	dir := files(t, map[string]string{"sub/a.service": one})
	t.Chdir(dir)
	for given, want := range map[string]string{
		"sub/a.service":                     "sub/a.service",
		"./sub//a.service":                  "sub/a.service",
		filepath.Join(dir, "sub/a.service"): "sub/a.service",
		"/etc/x.service":                    "/etc/x.service",
		"../x.service":                      "../x.service",
	} {
		if got := report(given); got != want {
			t.Errorf("%s is reported as %s, want %s", given, got, want)
		}
	}
	t.Chdir("/")
	if got := report("/etc/x.service"); got != "/etc/x.service" {
		t.Error(got)
	}
}

// Evidence for CHK-1008.
func TestCHK1008OnlyBoundedRegularFilesAreRead(t *testing.T) {
	dir := files(t, map[string]string{"most": strings.Repeat("x", maxFile), "more": strings.Repeat("x", maxFile+1), "dir": "/"})
	for name, want := range map[string]string{"most": "", "more": "larger than", "dir": "not a regular file", "none": "no such file"} {
		_, _, err := readRegular(filepath.Join(dir, name))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, _, err := readRegular("/dev/null"); err == nil {
		t.Error("a device is read")
	}
}
