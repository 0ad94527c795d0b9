//go:build linux

package collect

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

const (
	empty = "[Service]\n"
	runs  = "[Service]\nExecStart=/bin/true\n"
)

// dropInTrees are folders, and the drop-ins of one unit in them in the order in which they apply.
var dropInTrees = []struct {
	id, unit string
	tree     map[string]string
	want     []string
}{
	{"own", "u.service", map[string]string{"u.service": runs, "u.service.d/b.conf": empty, "u.service.d/a.conf": empty, "u.service.d/.c.conf": empty, "u.service.d/d.txt": empty}, []string{"u.service.d/a.conf", "u.service.d/b.conf"}},
	{"type", "u.service", map[string]string{"u.service": runs, "u.service.d/b.conf": empty, "service.d/a.conf": empty, "service.d/b.conf": one}, []string{"service.d/a.conf", "u.service.d/b.conf"}},
	{"prefixes", "a-b-c.service", map[string]string{
		"a-b-c.service": runs, "a-.service.d/1.conf": empty, "a-b-.service.d/1.conf": empty, "a-.service.d/2.conf": empty, "a-b.service.d/3.conf": empty, "a-b-c.service.d/0.conf": empty, "b-.service.d/4.conf": empty,
	}, []string{"a-b-c.service.d/0.conf", "a-b-.service.d/1.conf", "a-.service.d/2.conf"}},
	{"dashes", "-a--b.service", map[string]string{
		"-a--b.service": runs, "-.service.d/1.conf": empty, "-a-.service.d/2.conf": empty, "-a--.service.d/3.conf": empty,
	}, []string{"-a-.service.d/2.conf", "-a--.service.d/3.conf"}},
	{"instance", "a-b@i.service", map[string]string{
		"a-b@.service": runs, "a-b@i.service": "->a-b@.service", "a-b@i.service.d/1.conf": empty, "a-b@.service.d/2.conf": empty, "a-@i.service.d/3.conf": empty, "a-@.service.d/4.conf": empty, "a-.service.d/5.conf": empty,
		"service.d/6.conf": empty, "a-b.service.d/7.conf": empty, "a-b@j.service.d/8.conf": empty,
	}, []string{"a-b@i.service.d/1.conf", "a-b@.service.d/2.conf", "a-@i.service.d/3.conf", "a-@.service.d/4.conf", "a-.service.d/5.conf", "service.d/6.conf"}},
	{"instance_masks", "a-b@i.service", map[string]string{
		"a-b@.service": runs, "a-b@i.service.d/1.conf": empty, "a-b@.service.d/1.conf": empty, "a-b@.service.d/2.conf": empty, "a-.service.d/2.conf": empty,
		"a-.service.d/3.conf": empty, "a-@i.service.d/3.conf": empty, "a-@i.service.d/4.conf": empty, "a-@.service.d/4.conf": empty,
	}, []string{"a-b@i.service.d/1.conf", "a-b@.service.d/2.conf", "a-.service.d/3.conf", "a-@i.service.d/4.conf"}},
	{"alias", "u.service", map[string]string{
		"u.service": runs, "ali-as.service": "->u.service", "ali-as.service.d/1.conf": empty, "ali-.service.d/2.conf": empty, "u.service.d/3.conf": empty, "ali-as.service.d/3.conf": empty,
		"two.service": "->ali-as.service", "two.service.d/4.conf": empty, "other.service": runs, "other.service.d/5.conf": empty,
	}, []string{"ali-as.service.d/1.conf", "ali-.service.d/2.conf", "u.service.d/3.conf", "two.service.d/4.conf"}},
	{"template_alias", "u@i.service", map[string]string{
		"u@.service": runs, "ali@.service": "->u@.service", "ali@.service.d/1.conf": empty, "ali@i.service.d/2.conf": empty, "ali@j.service.d/3.conf": empty, "ali.service.d/4.conf": empty,
	}, []string{"ali@.service.d/1.conf", "ali@i.service.d/2.conf"}},
	{"instance_alias", "u@i.service", map[string]string{
		"u@.service": runs, "ali@i.service": "->u@.service", "ali@i.service.d/1.conf": empty, "ali@.service.d/2.conf": empty,
	}, []string{"ali@i.service.d/1.conf", "ali@.service.d/2.conf"}},
}

// What applies to a unit, the systemd that is installed applies too, in the same order.
// Evidence for CHK-1019.
func TestCHK1019Referee(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		asnobody.NotRun(t, "install systemd, whose systemd-analyze is the referee of this test")
	}
	for _, c := range dropInTrees {
		t.Run(c.id, func(t *testing.T) {
			dir := files(t, c.tree)
			in, err := readFolder(&view{}, dir)
			if err != nil {
				t.Fatal(err)
			}
			got, err := in.dropIns(c.unit)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], dir+"/")
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if tool == "" {
				return
			}
			if theirs := applied(t, tool, dir, c.unit); !slices.Equal(theirs, c.want) {
				t.Errorf("systemd applies %v, want %v", theirs, c.want)
			}
		})
	}
}

// applied lists the drop-ins that systemd-analyze verify reports of a unit.
func applied(t *testing.T, tool, dir, unit string) []string {
	t.Helper()
	cmd := exec.Command(tool, "verify", "--man=no", "--recursive-errors=no", "--", unit)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_COLOR=0", "LC_ALL=C", "SYSTEMD_UNIT_PATH="+dir)
	out, _ := cmd.CombinedOutput() // it fails for want of ExecStart=, which is not our subject
	_, ours, found := strings.Cut(string(out), "-> Unit "+unit+":\n")
	if !found {
		t.Fatalf("%s does not report %s:\n%s", tool, unit, out)
	}
	ours, _, _ = strings.Cut(ours, "-> Unit ")
	var list []string
	for _, m := range regexp.MustCompile(`DropIn Path: (.*)`).FindAllStringSubmatch(ours, -1) {
		list = append(list, strings.TrimPrefix(m[1], dir+"/"))
	}
	return list
}

// Folders for many units are none of their own, a mask masks in less specific folders, and an instance of which only the
// drop-ins are there is its template with them.
// Evidence for CHK-1019.
func TestCHK1019SharedDropIns(t *testing.T) {
	load := func(name string) string { return "[Service]\nLoadCredential=" + name + ":/x\n" }
	for id, c := range map[string]struct {
		tree map[string]string
		want string
	}{
		"type":         {map[string]string{"u.service": one, "service.d/x.conf": load("b")}, "u.service:a u.service:b"},
		"prefix":       {map[string]string{"u-v.service": one, "u-.service.d/x.conf": load("b")}, "u-v.service:a u-v.service:b"},
		"mask":         {map[string]string{"u-v.service": one, "u-v.service.d/x.conf": "->/dev/null", "u-.service.d/x.conf": load("b")}, "u-v.service:a"},
		"instance":     {map[string]string{"u@.service": one, "u@i.service.d/x.conf": load("b")}, "u@.service:a u@i.service:a u@i.service:b"},
		"alias":        {map[string]string{"u.service": one, "ali.service": "->u.service", "ali.service.d/x.conf": load("b")}, "u.service:a u.service:b"},
		"alias_named":  {map[string]string{"u.service": one, "ali@.service": "->u.service"}, "ali@.service:a u.service:a"},
		"not_here":     {map[string]string{"service.d/x.conf": load("b"), "sub/u.service": one, "u-.service.d/x.conf": load("b")}, "u.service:a !service.d:not_judged !u-.service.d:not_judged"},
		"partial":      {map[string]string{"u-v.service.d/x.conf": load("b"), "u-.service.d/y.conf": load("c")}, "u-v.service:b u-v.service:c"},
		"folder_link":  {map[string]string{"real/x.conf": load("b"), "u.service.d": "->real"}, "u.service:b"},
		"which_alias":  {map[string]string{"u.service": one, "p.service": "->u.service", "q.service": "->u.service", "p.service.d/x.conf": load("b"), "q.service.d/x.conf": empty}, "!u.service:unreadable"},
		"system_alias": {map[string]string{"u.service": one, "p.service": "->/usr/lib/systemd/system/u.service", "p.service.d/x.conf": load("b")}, "u.service:a u.service:b"},
		"circle":       {map[string]string{"u.service": "->p.service", "p.service": "->u.service"}, "!p.service:unreadable !u.service:unreadable"},
		"other_folder": {map[string]string{"u.service": one, "sub/p.service": "->../u.service", "sub/p.service.d/x.conf": load("b"), "sub/q.service": "->../u.service"}, "p.service:a p.service:b u.service:a"},
		"alias_gone":   {map[string]string{"ali.service": "->u.service", "u.service": "->/dev/null"}, "!ali.service:masked !u.service:masked"},
	} {
		t.Run(id, func(t *testing.T) {
			in := Paths([]string{files(t, c.tree)}, Options{})
			var got []string
			for _, l := range in.Loads {
				got = append(got, l.Unit+":"+l.Name)
			}
			slices.Sort(got)
			for _, f := range in.Findings {
				got = append(got, "!"+filepath.Base(f.File)+":"+f.Rule)
			}
			slices.Sort(got[len(in.Loads):])
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
	dir := files(t, map[string]string{"u.service": one, "ali.service": "->u.service"})
	if in := Paths([]string{filepath.Join(dir, "ali.service"), dir}, Options{}); len(in.Loads) != 1 || in.Loads[0].Unit != "u.service" {
		t.Errorf("an alias is not its unit: %+v", in.Loads)
	}
}

// Units of other kinds get credentials too, which nothing here judges: they are named.
// Evidence for CHK-1031.
func TestCHK1031OtherUnits(t *testing.T) {
	in := Paths([]string{files(t, map[string]string{
		"a.socket": "[Socket]\nLoadCredential=a:/x\n", "b.mount": "[Mount]\nWhat=x\n", "c.swap": "[Swap]\nSetCredential=a:b\n", "d.socket.d/x.conf": "[Socket]\nImportCredential=*\n",
		"e.socket": "[Socket]\n# LoadCredential=a:/x\n", "mount.d/y.conf": "[Mount]\nLoadCredential=a:/x\n", "f.timer": one, "x.conf": one,
	})}, Options{})
	var got []string
	for _, f := range in.Findings {
		got = append(got, filepath.Base(f.File)+":"+f.Rule+":"+string(f.Severity))
	}
	slices.Sort(got)
	if s := strings.Join(got, " "); s != "a.socket:not_judged:note c.swap:not_judged:note x.conf:not_judged:note y.conf:not_judged:note" || in.Descriptors != 0 {
		t.Errorf("%s, %d descriptors", s, in.Descriptors)
	}
}
