package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/envfile"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/fingerprint"
	"github.com/llorch/secrets-management/policy"
)

// rules is a policy for tests: which actions may be asked for, and what is then said.
type rules struct {
	may     []policy.Action
	reasons []policy.Reason
	err     error
	asked   []policy.Request
}

func (r *rules) MayAsk(_ context.Context, q *policy.Request) (bool, error) {
	for _, a := range r.may {
		if q.Action == a {
			return true, nil
		}
	}
	return false, nil
}

// Decide never allows: only an engine can make a decision that does, so allows are tested by the scripts.
func (r *rules) Decide(_ context.Context, q *policy.Request) (policy.Decision, error) {
	r.asked = append(r.asked, *q)
	return policy.Denial(r.reasons, "g"), r.err
}

// tree is a host for tests.
type tree struct {
	files map[string]Seen
	err   error
	seen  []string

	environments map[string]string
	matches      []string
}

func (h *tree) See(path string, self int64) (Seen, error) {
	h.seen = append(h.seen, fmt.Sprintf("%s as %d", path, self))
	if h.err != nil {
		return Seen{}, h.err
	}
	s, ok := h.files[path]
	if !ok {
		return Seen{}, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}
	return s, nil
}

func (h *tree) List(string) ([]fs.DirEntry, error) { return nil, fs.ErrNotExist }

func (h *tree) UID(user string) (int64, bool, error) { return 990, user == "queen", h.err }

func (h *tree) Variables(path string) ([]envfile.Variable, error) {
	if path == "/forbidden" {
		return nil, fs.ErrPermission
	}
	text, ok := h.environments[path]
	if !ok {
		return nil, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}
	return envfile.Parse([]byte(text))
}

func (h *tree) Match(string) ([]string, error) { return h.matches, h.err }

func credential() descriptor.Load {
	return descriptor.Load{
		Service: "s", Unit: "s.service", Source: policy.SourceCredential, Name: "n", Path: "/run/credentials/s.service/n",
		Origin: "/o", UID: 7, Position: descriptor.Position{File: "s.service", Line: 2, Column: 16},
	}
}

func run(p Decider, h Host, loads ...descriptor.Load) Result {
	return Run(context.Background(), Config{Policy: p, Host: h}, Input{Descriptors: 1, Loads: loads})
}

func file(path string) map[string]Seen {
	return map[string]Seen{path: {Resolved: path, Above: []string{"/"}, Links: []string{"/l"}, File: policy.File{Type: "regular", Size: 65}}}
}

// Evidence for CHK-1024.
func TestCHK1024NothingGrantedIsNotLookedAt(t *testing.T) {
	p, h := &rules{}, &tree{files: file("/o")}
	l := credential()
	l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleSpecifier}
	r := run(p, h, l)
	if r.Loads[0].Verdict != Denied || len(h.seen) != 0 {
		t.Errorf("verdict %s, host asked for %v", r.Loads[0].Verdict, h.seen)
	}
	if len(p.asked) != 2 || p.asked[0].Action != policy.LoadSecret || r.Loads[0].Action != policy.LoadSecret ||
		p.asked[0].Resource.Facts != policy.FactsUnchecked || p.asked[1].Resource.Facts != policy.FactsUnchecked {
		t.Errorf("asked %+v", p.asked)
	}
}

// Evidence for CHK-1027.
func TestCHK1027AnUnknownNameIsNotAsked(t *testing.T) {
	p, h := &rules{}, &tree{files: file("/o")}
	l := credential()
	l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleSpecifier, Identity: true}
	if r := run(p, h, l); r.Loads[0].Verdict != Undecided || len(p.asked)+len(h.seen) != 0 || r.Loads[0].Reasons[0].Code != descriptor.RuleSpecifier {
		t.Errorf("%+v", r.Loads[0])
	}
}

// Evidence for CHK-1027.
func TestCHK1027ADoubtHidesNoDenial(t *testing.T) {
	p, h := &rules{may: []policy.Action{policy.LoadSecret}, reasons: []policy.Reason{{Code: "site", Message: "m", Severity: policy.SeverityError}}}, &tree{files: file("/o")}
	l := credential()
	l.Doubt = &descriptor.Doubt{Rule: descriptor.RuleOrigin}
	got := run(p, h, l).Loads[0]
	if got.Verdict != Denied || len(h.seen) != 0 || len(p.asked) != 1 || len(got.Reasons) != 2 || got.Reasons[0].Code != "site" || got.Reasons[1].Code != descriptor.RuleOrigin {
		t.Errorf("%+v, asked %+v", got, p.asked)
	}
}

// A source with a slash at its end is a directory for the kernel, or nothing that can be opened.
// Evidence for CHK-1026.
func TestCHK1026SlashAtTheEnd(t *testing.T) {
	l := credential()
	l.Directory = true
	directory := map[string]Seen{"/o": {Resolved: "/o", File: policy.File{Type: "directory"}}}
	for _, c := range []struct {
		h    Host
		rule string
	}{{nil, RuleDirectorySource}, {&tree{files: directory}, RuleDirectorySource}, {&tree{files: file("/o")}, RuleUnwalkable}, {&tree{}, RuleMissingSource}} {
		p := &rules{may: []policy.Action{policy.LoadSecret}}
		got := run(p, c.h, l).Loads[0]
		if len(got.Reasons) != 1 || got.Reasons[0].Code != c.rule || len(p.asked) != 1 {
			t.Errorf("%s: %+v, asked %+v", c.rule, got, p.asked)
		}
	}
}

// Evidence for CHK-1024.
func TestCHK1024ActionIsWhatMayBeAsked(t *testing.T) {
	p := &rules{may: []policy.Action{policy.LoadKey, policy.DeriveKey}}
	if r := run(p, nil, credential()); r.Loads[0].Action != policy.LoadKey {
		t.Errorf("judged as %s", r.Loads[0].Action)
	}
	l := credential()
	l.Action, l.Purpose = policy.DeriveKey, "seal-v1"
	if r := run(p, nil, l); r.Loads[0].Action != policy.DeriveKey || p.asked[1].Resource.Purpose != "seal-v1" {
		t.Errorf("judged as %s", r.Loads[0].Action)
	}
}

// Evidence for CHK-1025.
func TestCHK1025PredictedFacts(t *testing.T) {
	p, h := &rules{may: []policy.Action{policy.LoadSecret}}, &tree{files: file("/o")}
	run(p, h, credential())
	q := p.asked[0]
	f := q.Resource.File
	if q.Resource.Facts != policy.FactsPredicted || f.Mode != 0o440 || !f.ACL || f.UID != 0 || f.OwnerIsMe || !f.OwnerIsRoot || f.Size != 65 ||
		f.NLink != 1 || !f.Mount.ReadOnly || fmt.Sprint(f.Readers.UIDs) != "[0 7]" || f.Readers.Everyone || f.Filesystem != "tmpfs" {
		t.Errorf("predicted %+v", f)
	}
	Run(context.Background(), Config{Policy: p, Systemd: 252}, Input{Loads: []descriptor.Load{credential()}})
	f = p.asked[1].Resource.File
	if f.Mode != 0o400 || f.ACL || f.UID != 7 || !f.OwnerIsMe || f.OwnerIsRoot || fmt.Sprint(f.Readers.UIDs) != "[7]" || f.Filesystem != "ramfs" {
		t.Errorf("predicted of systemd 252 %+v", f)
	}
	if q.Resource.OriginFile.Size != 65 || q.Resource.Origin != "/o" || q.Context.Phase != policy.PhaseRollout {
		t.Errorf("asked %+v", q)
	}
	if fmt.Sprint(q.Resource.Above) != "[/run/credentials/s.service /run/credentials /run /]" {
		t.Errorf("above %v", q.Resource.Above)
	}
	if fmt.Sprint(h.seen) != "[/o as 0]" {
		t.Errorf("systemd copies as root, not as the service: %v", h.seen)
	}
}

// Evidence for CHK-1025.
func TestCHK1025FilesAreSeenAsTheService(t *testing.T) {
	p, h := &rules{may: []policy.Action{policy.LoadKey}}, &tree{files: file("/f")}
	l := descriptor.Load{Service: "s", Source: policy.SourceFile, Action: policy.LoadKey, Path: "/f", UID: 7}
	run(p, h, l)
	if fmt.Sprint(h.seen) != "[/f as 7]" || p.asked[0].Resource.Facts != policy.FactsObserved || p.asked[0].Resource.File.Size != 65 ||
		fmt.Sprint(p.asked[0].Resource.Links) != "[/l]" {
		t.Errorf("seen %v, asked %+v", h.seen, p.asked[0])
	}
}

// Evidence for CHK-1006.
func TestCHK1006LinksAreJudgedTwice(t *testing.T) {
	p := &rules{may: []policy.Action{policy.LoadSecret}}
	h := &tree{files: map[string]Seen{"/o": {Resolved: "/elsewhere", File: policy.File{Type: "regular"}}}}
	r := run(p, h, credential())
	if len(p.asked) != 2 || p.asked[0].Resource.Origin != "/o" || p.asked[1].Resource.Origin != "/elsewhere" {
		t.Errorf("asked %+v", p.asked)
	}
	if r.Loads[0].Origin != "/o" || r.Summary.Loads != 1 {
		t.Errorf("reported %+v", r.Loads)
	}
}

// Evidence for CHK-1026.
func TestCHK1026HostFaults(t *testing.T) {
	for _, c := range []struct {
		err           error
		rule, message string
	}{
		{fs.ErrNotExist, RuleMissingSource, "does not exist"},
		{&DanglingError{Link: "/o"}, RuleMissingSource, "the symbolic link /o leads out of the root or to nothing"},
		{fs.ErrPermission, RuleUnseen, "no permission"},
		{errors.New("too many symbolic links"), RuleUnwalkable, "cannot be reached"},
	} {
		p := &rules{may: []policy.Action{policy.LoadSecret}, reasons: []policy.Reason{{Code: "site", Message: "m", Severity: policy.SeverityError}}}
		r := run(p, &tree{err: fmt.Errorf("walk: %w", c.err)}, credential())
		l := r.Loads[0]
		if l.Verdict != Denied || len(l.Reasons) != 2 || l.Reasons[0].Code != "site" || l.Reasons[1].Code != c.rule ||
			!strings.Contains(l.Reasons[1].Message, c.message) {
			t.Errorf("%v: %+v", c.err, l)
		}
		if len(p.asked) != 1 || p.asked[0].Resource.Facts != policy.FactsUnchecked || p.asked[0].Resource.OriginFile.Type != "" {
			t.Errorf("%v: asked %+v", c.err, p.asked)
		}
		if len(r.Findings) != 2 || r.Findings[1].Rule != c.rule || r.Findings[1].Line != 2 {
			t.Errorf("%v: findings %+v", c.err, r.Findings)
		}
	}
}

// Evidence for CHK-1026.
func TestCHK1026OddSources(t *testing.T) {
	for kind, rule := range map[string]string{"directory": RuleDirectorySource, "socket": RuleSocketSource} {
		p := &rules{may: []policy.Action{policy.LoadSecret}}
		h := &tree{files: map[string]Seen{"/o": {Resolved: "/o", File: policy.File{Type: kind}}}}
		l := run(p, h, credential()).Loads[0]
		if l.Verdict != Denied || l.Reasons[0].Code != rule || len(p.asked) != 1 || p.asked[0].Resource.Facts != policy.FactsUnchecked {
			t.Errorf("%s: %+v, asked %+v", kind, l, p.asked)
		}
	}
}

// Evidence for CHK-1004.
func TestCHK1004FixesNameTheRoot(t *testing.T) {
	reasons := []policy.Reason{{Code: "c", Message: "m", Severity: policy.SeverityError, Fix: "chmod 0600 '/o'"}, {Code: "d", Message: "m"}}
	for _, c := range []struct {
		root, want string
		may        []policy.Action
	}{
		{"srv/image", "chmod 0600 '/o' (inside srv/image)", []policy.Action{policy.LoadSecret}},
		{"", "chmod 0600 '/o'", []policy.Action{policy.LoadSecret}},
		{"srv/image", "chmod 0600 '/o'", nil}, // what may not be asked for is not looked at
	} {
		p := &rules{may: c.may, reasons: reasons}
		r := Run(context.Background(), Config{Policy: p, Host: &tree{files: file("/o")}, Root: c.root}, Input{Loads: []descriptor.Load{credential()}})
		if got := r.Loads[0].Reasons; got[0].Fix != c.want || got[1].Fix != "" || r.Findings[0].Fix != c.want {
			t.Errorf("root %q: %+v", c.root, got)
		}
	}
}

// Evidence for CHK-1020.
func TestCHK1020UserIsLookedUp(t *testing.T) {
	p := &rules{may: []policy.Action{policy.LoadSecret}}
	l := credential()
	l.User, l.UID = "queen", -1
	run(p, &tree{files: file("/o")}, l)
	if p.asked[0].Subject.UID != 990 || !slices.Contains(p.asked[0].Resource.File.Readers.UIDs, 990) {
		t.Errorf("asked %+v", p.asked[0])
	}
	l.User = "nobody-here"
	if r := run(p, &tree{files: file("/o")}, l); r.Loads[0].Reasons[0].Code != RuleUnknownUser || p.asked[1].Subject.UID != -1 {
		t.Errorf("%+v", r.Loads[0])
	}
	l.Dynamic = true
	if r := run(p, &tree{files: file("/o")}, l); len(r.Loads[0].Reasons) != 0 {
		t.Errorf("systemd makes the account: %+v", r.Loads[0])
	}
}

// Evidence for CHK-1044.
func TestCHK1044EngineFailureIsNoVerdict(t *testing.T) {
	p := &rules{may: []policy.Action{policy.LoadSecret}, err: errors.New("out of fuel " + strings.Repeat("x", 9999))}
	r := run(p, nil, credential())
	if l := r.Loads[0]; l.Verdict != Undecided || !r.EngineFailed || l.Reasons[0].Code != RuleEngine || len(l.Reasons[0].Message) > 600 {
		t.Errorf("%+v", r)
	}
	p.err = fmt.Errorf("x: %w", policy.ErrRequest)
	if r := run(p, nil, credential()); r.Loads[0].Verdict != Denied || r.EngineFailed {
		t.Errorf("a name that no policy can judge is no fault of the policy: %+v", r)
	}
}

// Evidence for CHK-1008.
func TestCHK1008PolicyTextIsBounded(t *testing.T) {
	long := strings.Repeat("é", 5000)
	p := &rules{reasons: []policy.Reason{{Code: "c", Message: long, Severity: policy.SeverityError, Fix: long}}}
	l := run(p, nil, credential()).Loads[0]
	if len(l.Reasons[0].Message) > 510 || len(l.Reasons[0].Fix) > 510 || strings.ContainsRune(l.Reasons[0].Fix, '\uFFFD') {
		t.Errorf("%d %d", len(l.Reasons[0].Message), len(l.Reasons[0].Fix))
	}
}

// Whatever the loads, they add up, and each reason that matters has its finding. (CHK-1002)
func TestCHK1002EveryLoadHasOneVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &rules{}
		for _, a := range []policy.Action{policy.LoadSecret, policy.LoadKey} {
			if rapid.Bool().Draw(t, "may") {
				p.may = append(p.may, a)
			}
		}
		if rapid.Bool().Draw(t, "reason") {
			severity := rapid.SampledFrom([]policy.Severity{policy.SeverityError, policy.SeverityWarning, policy.SeverityNote}).Draw(t, "severity")
			p.reasons = []policy.Reason{{Code: "c", Message: "m", Severity: severity}}
		}
		loads := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) descriptor.Load {
			l := credential()
			l.Service = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service")
			l.Line = rapid.IntRange(1, 3).Draw(t, "line")
			l.Origin = rapid.SampledFrom([]string{"/o", "/gone", "", descriptor.OriginInline}).Draw(t, "origin")
			if rapid.Bool().Draw(t, "doubtful") {
				l.Doubt = &descriptor.Doubt{Rule: "d", Identity: rapid.Bool().Draw(t, "identity")}
			}
			return l
		}), 0, 9).Draw(t, "loads")
		for i := range loads {
			loads[i].Descriptor = i
		}
		var h Host
		if rapid.Bool().Draw(t, "host") {
			h = &tree{files: file("/o")}
		}
		r := run(p, h, loads...)
		s, wanted := r.Summary, 0
		for _, l := range r.Loads {
			for _, reason := range l.Reasons {
				if reason.Severity != policy.SeverityNote {
					wanted++
				}
			}
			if l.Reasons == nil || l.Grants == nil {
				t.Fatalf("null in %+v", l)
			}
		}
		if len(r.Loads) != len(loads) || s.Loads != len(loads) || s.Loads != s.Allowed+s.Denied+s.Undecided || len(r.Findings) != wanted {
			t.Fatalf("%d loads became %+v, %d findings for %d reasons", len(loads), s, len(r.Findings), wanted)
		}
		if s.Allowed != 0 {
			t.Fatal("allowed by a policy that never allows")
		}
	})
}

// Evidence for CHK-1007.
func TestCHK1007Fingerprint(t *testing.T) {
	base := fingerprint.Of("rule", "service", "source", "name", "path", "file")
	if base != fingerprint.Of("rule", "service", "source", "name", "path", "file") || len(base) != 64 {
		t.Fatal("not stable")
	}
	for _, parts := range [][]string{
		{"rules", "ervice", "source", "name", "path", "file"},
		{"rule", "service", "source", "name", "pathfile"},
		{"rule", "service", "source", "name", "path", "file", ""},
	} {
		if fingerprint.Of(parts...) == base {
			t.Errorf("%q has the same fingerprint", parts)
		}
	}
	p := &rules{reasons: []policy.Reason{{Code: "c", Message: "m", Severity: policy.SeverityError}}}
	a, b, c := credential(), credential(), credential()
	b.Line, b.Column = 99, 1
	c.File = "other.service"
	r := run(p, nil, a, b, c)
	prints := map[string]int{}
	for _, f := range r.Findings {
		prints[f.Fingerprint]++
	}
	if len(prints) != 2 || len(r.Findings) != 3 {
		t.Errorf("the line is in the fingerprint, or the file is not: %v", prints)
	}
}

// Evidence for CHK-1001.
func TestCHK1001Order(t *testing.T) {
	p := &rules{}
	a, b := credential(), credential()
	b.Service, b.Line = "a", 1
	one, two := run(p, nil, a, b), run(p, nil, b, a)
	if fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", two) || one.Loads[0].Service != "a" {
		t.Error("the report depends on the order in which descriptors were found")
	}
}
