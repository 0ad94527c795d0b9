package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/host"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/unitcorpus"
	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/internal/realsystemd"
	"github.com/llorch/secrets-management/policy"
)

const (
	generated = 220
	factsOf   = 10  // one in so many
	atLeast   = 300 // units are compared
)

// What the model says that a service gets, a real systemd gives it: the same names with the same content, as files with
// the same facts; and where the model says that the service does not start, it does not.
// Evidence for CHK-1054 and CHK-1055.
func TestCHK1054Differential(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	debian13, ok := realsystemd.Debian13(t)
	if !ok {
		return
	}
	const keep1, keep2, keep3 = "LoadCredential", "SetCredential", "ImportCredential"
	corpus := unitcorpus.Debian(t, "p-", keep1, keep2, keep3)
	if corpus == nil {
		return
	}
	for prefix, root := range map[string]string{"m-": "/", "d-": debian13} {
		more, err := unitcorpus.Installed(root, prefix, keep1, keep2, keep3)
		if err != nil {
			t.Fatal(err)
		}
		corpus = append(corpus, more...)
	}
	installed := len(corpus)
	corpus = unitcorpus.Distinct(corpus, keep1, keep2, keep3)
	corpus = append(corpus, unitcorpus.Generate(7, generated)...)
	t.Logf("%d units are installed or in packages, %d of them distinct; %d are generated", installed, len(corpus)-generated, generated)
	if len(corpus) < atLeast {
		t.Errorf("%d units", len(corpus))
	}
	for name, root := range map[string]string{"own": "", "257": debian13} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			differ(t, root, corpus)
		})
	}
}

// differ compares the model with one systemd.
func differ(t *testing.T, root string, corpus []unitcorpus.Case) {
	t.Helper()
	r := bootCorpus(t, root, corpus)
	m := modelOf(t, r.Version, corpus)
	states := states(string(r.Files["states"]))
	count := map[string]int{}
	disagree := 0
	for _, c := range corpus {
		verdict, complaint := m.compare(c, states[c.Name], r.Files[c.Name+".out"])
		count[verdict]++
		if complaint == "" {
			continue
		}
		if disagree++; disagree <= 20 {
			t.Errorf("%s: %s\n%s", c.Name, complaint, show(c))
		}
	}
	t.Logf("systemd %d: %v, %d disagreements", r.Version, count, disagree)
	if count["starts"]+count["credentials"] < len(corpus)/2 || count["fails"] == 0 || count["credentials"] < 60 {
		t.Errorf("the comparison is empty: %v", count)
	}
}

// show is the files of a case.
func show(c unitcorpus.Case) string {
	var names []string
	for name := range c.Files {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "--- %s\n%.2000q\n", name, c.Files[name])
	}
	return b.String()
}

// bootCorpus starts every unit with a program that lists its credentials.
func bootCorpus(t *testing.T, root string, corpus []unitcorpus.Case) *realsystemd.Result {
	t.Helper()
	exe, err := realsystemd.Build(t.TempDir(), "./internal/probe/cmd/probe")
	if err != nil {
		t.Fatal(err)
	}
	m := &realsystemd.Machine{
		Root: root,
		Files: []realsystemd.File{
			{Path: "/run/machine/probe", Mode: 0o755, From: exe},
		},
		Units: map[string]string{"drive.service": "[Service]\nType=oneshot\nExecStart=/bin/sh /run/machine/drive\n"},
		Start: []string{"drive.service"},
		Limit: 5 * time.Minute,
	}
	small, err := realsystemd.Build(t.TempDir(), "./internal/probe/cmd/credentials")
	if err != nil {
		t.Fatal(err)
	}
	m.Files = append(m.Files, realsystemd.File{Path: "/run/machine/credentials", Mode: 0o755, From: small})
	var names []string
	for i, c := range corpus {
		program := "credentials"
		if i%factsOf == 0 || strings.Contains(strings.Join(slices.Collect(maps.Values(c.Files)), ""), "User=") {
			program = "probe credentials" // takes longer, and tells all facts
		}
		names = append(names, c.Name)
		m.Files = append(m.Files, machineFiles(c.Files)...)
		m.Units[c.Name+".d/zzzz-machine.conf"] = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=append:" + realsystemd.Out + "/" + c.Name + ".out\n" +
			"ExecStart=/run/machine/" + program + "\n"
	}
	m.Files = append(m.Files, machineFiles(unitcorpus.Store())...)
	drive := "systemctl start " + strings.Join(names, " ") + "\nsystemctl show --no-pager -p Names,LoadState,Result,ExecMainStatus " + strings.Join(names, " ") + " >" + realsystemd.Out + "/states\nexit 0\n"
	m.Files = append(m.Files, realsystemd.File{Path: "/run/machine/drive", Mode: 0o644, Content: []byte(drive)})
	r := m.Run(t)
	if s := r.Services["drive.service"]; s.Result != "success" {
		t.Fatalf("the units were not started: %+v", s)
	}
	return r
}

func machineFiles(files map[string]string) []realsystemd.File {
	var list []realsystemd.File
	for name, content := range files {
		f := realsystemd.File{Path: "/" + name, Mode: 0o644, Content: []byte(content)}
		if target, link := strings.CutPrefix(content, "->"); link {
			f.Link = target
		}
		list = append(list, f)
	}
	return list
}

// state is what systemctl show says of a unit.
type state struct {
	load, result, status string
}

func states(shown string) map[string]state {
	all := map[string]state{}
	for block := range strings.SplitSeq(shown, "\n\n") {
		v := map[string]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			v[key] = value
		}
		for _, name := range strings.Fields(v["Names"]) {
			all[name] = state{v["LoadState"], v["Result"], v["ExecMainStatus"]}
		}
	}
	return all
}

// model is what secretcheck makes of the corpus.
type model struct {
	root    string
	loads   map[string][]check.Load // by unit
	asked   map[string]policy.Request
	bad     map[string]bool // files with a fault that we refuse
	masked  map[string]bool // files
	version int
}

// recorder is a policy that denies everything, and keeps what it was asked.
type recorder struct{ asked map[string]policy.Request }

func (r *recorder) MayAsk(context.Context, *policy.Request) (bool, error) { return true, nil }

func (r *recorder) Decide(_ context.Context, q *policy.Request) (policy.Decision, error) {
	r.asked[q.Subject.Unit+" "+q.Resource.Name] = *q
	return policy.Denial(nil), nil
}

func modelOf(t *testing.T, version int, corpus []unitcorpus.Case) *model {
	t.Helper()
	dir := t.TempDir()
	for _, c := range corpus {
		writeTree(t, dir, c.Files)
		writeTree(t, dir, map[string]string{"etc/systemd/system/machine.target.wants/" + c.Name: "->../" + c.Name}) // names instances
	}
	writeTree(t, dir, unitcorpus.Store())
	writeTree(t, dir, map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", "dev/null": ""})
	root, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	in := Paths(nil, Options{Root: root, RootDir: dir, Version: version, AllUnits: true})
	m := &model{root: dir, loads: map[string][]check.Load{}, bad: map[string]bool{}, masked: map[string]bool{}, version: version}
	r := &recorder{asked: map[string]policy.Request{}}
	m.asked = r.asked
	result := check.Run(context.Background(), check.Config{Policy: r, Host: root, Root: dir, Systemd: version}, in)
	for _, l := range result.Loads {
		unit := filepath.Base(filepath.Dir(l.Path))
		m.loads[unit] = append(m.loads[unit], l)
	}
	for _, f := range result.Findings {
		name := strings.TrimPrefix(f.File, dir+"/")
		m.bad[name] = m.bad[name] || f.Rule == descriptor.RuleUnparsable || f.Rule == descriptor.RuleUnreadable
		m.masked[name] = m.masked[name] || f.Rule == descriptor.RuleMasked
	}
	return m
}

func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, link := strings.CutPrefix(content, "->"); link {
			err = errors.Join(err, os.Symlink(target, p))
		} else {
			err = errors.Join(err, os.WriteFile(p, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// compare says what became of a unit, and what the two do not agree on.
func (m *model) compare(c unitcorpus.Case, s state, out []byte) (verdict, complaint string) {
	for name := range c.Files {
		if m.bad[name] {
			return "refused by the model", ""
		}
		if m.masked[name] {
			if s.load != "masked" {
				return "masked", fmt.Sprintf("the model says masked, systemd %+v", s)
			}
			return "masked", ""
		}
	}
	want, fails, open := m.expected(unitOf(c))
	if open {
		return "left open by the model", ""
	}
	if fails != "" {
		executor := m.version >= 255 && s.status == "1" && len(out) == 0 // which could not read what it was told
		if s.result == "success" || s.status != "243" && !executor || s.load != "loaded" {
			return "fails", fmt.Sprintf("the model says that it does not start (%s), systemd says %+v and gives %s", fails, s, out)
		}
		return "fails", ""
	}
	var got probe.Listing
	if err := json.Unmarshal(out, &got); err != nil || s.result != "success" || s.status != "0" {
		return "starts", fmt.Sprintf("the model says that it starts with %v, systemd %+v: %v", names(want), s, err)
	}
	if len(want) > 0 {
		verdict = "credentials"
	} else {
		verdict = "starts"
	}
	return verdict, m.compareFiles(want, got)
}

// unitOf is the unit that a case is about, whatever alias it is started by.
func unitOf(c unitcorpus.Case) string {
	n := split(c.Name)
	for name, content := range c.Files {
		target, link := strings.CutPrefix(content, "->")
		if link && (filepath.Base(name) == c.Name || n.at && filepath.Base(name) == n.template().String()) {
			t := split(filepath.Base(target))
			t.instance = n.instance
			return t.String()
		}
	}
	return c.Name
}

// given is a credential that the model expects.
type given struct {
	sum  string // of its content; "" where that is not known
	size int64
	file policy.File
}

func names(want map[string]given) []string {
	var list []string
	for name := range want {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// expected is what a unit gets, why it does not start, or that the model leaves it open.
func (m *model) expected(unit string) (want map[string]given, fails string, open bool) {
	want = map[string]given{}
	for _, l := range m.loads[unit] {
		missing := false
		for _, r := range l.Reasons {
			switch r.Code {
			case check.RuleMissingSource:
				missing = true
				if !strings.Contains(r.Message, "starts the service without it") && !strings.Contains(r.Message, "without a file") {
					fails = r.Message
				}
			case check.RuleBadSource, check.RuleTooLarge, check.RuleUnwalkable, descriptor.RuleNotStarted:
				fails = r.Code + ": " + r.Message
			case descriptor.RuleImport, descriptor.RuleOrigin, descriptor.RuleSpecifier:
				open = true
			}
		}
		if !missing {
			want[l.Name] = m.given(unit, l)
		}
	}
	return want, fails, open
}

func (m *model) given(unit string, l check.Load) given {
	g := given{file: m.asked[unit+" "+l.Name].Resource.File}
	if l.Origin == descriptor.OriginInline {
		g.size = g.file.Size
		return g
	}
	root, err := host.Open(m.root)
	if err != nil {
		return g
	}
	defer root.Close()
	at, err := root.Real(l.Origin)
	if err != nil {
		return g
	}
	content, err := os.ReadFile(at)
	if err != nil {
		return g
	}
	sum := sha256.Sum256(content)
	g.sum, g.size = hex.EncodeToString(sum[:]), int64(len(content))
	return g
}

func (m *model) compareFiles(want map[string]given, got probe.Listing) string {
	var list []string
	for name := range got.Files {
		list = append(list, name)
	}
	sort.Strings(list)
	if w := names(want); strings.Join(w, "\n") != strings.Join(list, "\n") {
		return fmt.Sprintf("the model gives %q, systemd %q", w, list)
	}
	for name, w := range want {
		g := got.Files[name]
		if g.Size != w.size && max(g.Size, 1) != w.size || w.sum != "" && g.SHA256 != w.sum {
			return fmt.Sprintf("%q has %d bytes (%s), in the model %d (%s)", name, g.Size, g.SHA256, w.size, w.sum)
		}
		if g.File.Type == "" {
			continue
		}
		if told, is := fmt.Sprintf("%+v", w.file), fmt.Sprintf("%+v", atLeastOne(g.File)); told != is {
			return fmt.Sprintf("%q is\n%s, in the model\n%s", name, is, told)
		}
	}
	return ""
}

// atLeastOne has the size that the model gives to an empty file, so that the policy is asked about a secret.
func atLeastOne(f policy.File) policy.File {
	f.Size = max(f.Size, 1)
	return f
}
