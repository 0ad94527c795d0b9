package loader_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/internal/auditlog"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// verified is what the verifier says of a log, its head file included.
func verified(t *testing.T, path string) *auditlog.Verifier {
	t.Helper()
	log, err := os.ReadFile(path)
	text, err2 := os.ReadFile(path + auditlog.HeadSuffix)
	head, ok := auditlog.RecordedHead(text)
	if err != nil || err2 != nil || !ok {
		t.Fatal(err, err2, ok)
	}
	v := auditlog.NewVerifier(auditlog.Head{}, auditlog.Head{})
	if err := v.Read(path, bytes.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	v.Finish(head)
	return v
}

// TestAuditChain: AUD-1001, AUD-1003, AUD-1004. Several loaders record in one file, which is one chain of verdicts and
// outcomes.
func TestAuditChain(t *testing.T) {
	w := newWorld(t)
	path := w.dir + "/audit.jsonl"
	refs := []loader.Ref{w.file("token", fake, 0o600), w.file("open", fake, 0o644), loader.File("relative"), loader.File("/etc/passwd")}
	var wg sync.WaitGroup
	for range 4 {
		f, err := loader.OpenAuditFile(path)
		must(w, err)
		defer f.Close()
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: f, Logger: slog.New(slog.DiscardHandler)})
		must(w, err)
		wg.Go(func() {
			for i := range 40 {
				if s, err := l.LoadSecret(context.Background(), refs[i%4]); err == nil {
					s.Close()
				}
			}
		})
	}
	wg.Wait()
	if v := verified(t, path); !v.Intact() || v.Entries != 4*(10*2+30) {
		t.Errorf("%d entries, %+v", v.Entries, v.Findings)
	}
	b, err := os.ReadFile(path)
	must(w, err)
	verdicts := map[string]bool{}
	for line := range bytes.Lines(b) {
		var e struct {
			DecisionID string `json:"decision_id"`
			Result     *struct{ Allow bool }
			Outcome    string
		}
		must(w, json.Unmarshal(line, &e))
		if e.Result != nil {
			verdicts[e.DecisionID] = e.Result.Allow
		} else if allowed, there := verdicts[e.DecisionID]; !there || !allowed || e.Outcome != "loaded" {
			t.Errorf("an outcome without a verdict that allows it before: %s", line)
		}
	}
	if strings.ContainsFunc(string(b), func(r rune) bool { return r != '\n' && (r < 0x20 || r > 0x7e) }) {
		t.Error("something other than printable ASCII")
	}
}

// TestSyntacticRefusalsAreRecorded: AUD-1001. What is refused before any policy is asked is in the log as well.
func TestSyntacticRefusalsAreRecorded(t *testing.T) {
	for name, ref := range map[string]loader.Ref{
		"no reference": {}, "an empty path": loader.File(""), "a relative one": loader.File("a"), "NUL": loader.File("/a\x00"),
		"not UTF-8": loader.File("/\xff"), "no credential": loader.Credential("a/b"), "no variable": loader.Env("A=B"),
	} {
		t.Run("AUD-1001 "+name, func(t *testing.T) {
			w := newWorld(t)
			s, err := w.l.LoadSecret(context.Background(), ref)
			w.refused(s, err, loader.ErrPath, "")
			if len(w.audit.entries) != 1 || w.audit.outcomes() != "deny" || w.audit.entries[0].Error == "" || w.audit.entries[0].Input == nil {
				t.Errorf("audit: %s", w.audit.inputs)
			}
		})
	}
	t.Run("AUD-1001 nothing to load from", func(t *testing.T) {
		w := newWorld(t)
		s, err := w.l.LoadSecret(context.Background())
		w.refused(s, err, loader.ErrPath, "")
	})
}

// TestAuditHandler: AUD-1006. Each entry is one record with the members of the entry, in JSON and in text.
func TestAuditHandler(t *testing.T) {
	w := newWorld(t)
	load := func(sink loader.AuditSink) error {
		l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Audit: sink})
		must(w, err)
		s, err := l.LoadSecret(context.Background(), w.file("t\u009b\u202e\x1b\n\"ken", fake, 0o600))
		if err == nil {
			s.Close()
		}
		return err
	}
	var out bytes.Buffer
	must(w, load(loader.NewAuditHandler(slog.NewJSONHandler(&out, nil))))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var verdict, outcome struct {
		Level      string
		Time       string
		DecisionID string `json:"decision_id"`
		Path       string
		Input      struct {
			Subject struct{ Service string }
		}
		Result  struct{ Allow bool }
		Bundles map[string]any
		Outcome string
	}
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &verdict) != nil || json.Unmarshal([]byte(lines[1]), &outcome) != nil {
		t.Fatalf("%q", lines)
	}
	if verdict.DecisionID == "" || verdict.DecisionID != outcome.DecisionID || verdict.Input.Subject.Service != service ||
		!verdict.Result.Allow || len(verdict.Bundles) != 1 || outcome.Outcome != "loaded" || verdict.Path == "" {
		t.Errorf("%+v\n%+v", verdict, outcome)
	}
	out.Reset()
	must(w, load(loader.NewAuditHandler(slog.NewTextHandler(&out, nil))))
	if text := out.String(); strings.Count(text, "\n") != 2 || strings.ContainsAny(text, "\u009b\u202e\x1b") || !strings.Contains(text, `\"allow\":true`) {
		t.Errorf("%q", text)
	}
	w.leaksNothing(nil)
	if strings.Contains(out.String(), fake) {
		t.Error("the secret is in it")
	}
	t.Run("AUD-1006 silence is an error", func(t *testing.T) {
		for name, h := range map[string]slog.Handler{
			"level": slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}), "discarded": slog.DiscardHandler, "nil": nil,
		} {
			if err := load(loader.NewAuditHandler(h)); !errors.Is(err, loader.ErrAudit) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("AUD-1006 a handler's error denies", func(t *testing.T) {
		if err := load(loader.NewAuditHandler(slog.NewJSONHandler(failingWriter{}, nil))); !errors.Is(err, loader.ErrAudit) || !errors.Is(err, errFull) {
			t.Errorf("%v", err)
		}
	})
}

var errFull = errors.New("disk full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

// TestAuditMulti: AUD-1006. All sinks get every entry, and all have to take it.
func TestAuditMulti(t *testing.T) {
	e := &loader.Entry{DecisionID: "x"}
	one, two, bad := &recorder{}, &recorder{}, &recorder{fail: func(int) error { return errFull }}
	for name, tt := range map[string]struct {
		sinks []loader.AuditSink
		ok    bool
	}{
		"none": {nil, false}, "nil": {[]loader.AuditSink{one, nil}, false}, "all": {[]loader.AuditSink{one, two}, true},
		"the first fails": {[]loader.AuditSink{bad, one}, false}, "the last fails": {[]loader.AuditSink{one, bad}, false},
		"a multi-sink in one": {[]loader.AuditSink{loader.NewAuditMulti(one), two}, true},
		"an empty one in one": {[]loader.AuditSink{one, loader.NewAuditMulti()}, false},
	} {
		before := len(one.entries)
		if err := loader.NewAuditMulti(tt.sinks...).Record(context.Background(), e); (err == nil) != tt.ok {
			t.Errorf("AUD-1006 %s: %v", name, err)
		}
		if tt.sinks != nil && len(one.entries) != before+1 {
			t.Errorf("AUD-1006 %s: a sink got %d entries", name, len(one.entries)-before)
		}
	}
	sinks := []loader.AuditSink{one}
	multi := loader.NewAuditMulti(sinks...)
	sinks[0] = bad
	if err := multi.Record(context.Background(), e); err != nil {
		t.Error("the sinks of a multi-sink can be changed from outside")
	}
}

// TestAuditWriter: AUD-1006. A writer gets one whole line with each call, and one that takes less has failed.
func TestAuditWriter(t *testing.T) {
	var out bytes.Buffer
	sink := loader.NewAuditWriter(&out)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if err := sink.Record(context.Background(), &loader.Entry{DecisionID: fmt.Sprint(i), Error: "a\nb\u009b" + strings.Repeat("x", i*50)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) || strings.Contains(line, "\u009b") {
			t.Errorf("%q", line)
		}
	}
	if len(lines) != 50 {
		t.Errorf("%d lines", len(lines))
	}
	if err := loader.NewAuditWriter(shortWriter{}).Record(context.Background(), &loader.Entry{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v", err)
	}
	if err := loader.NewAuditWriter(failingWriter{}).Record(context.Background(), &loader.Entry{}); !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
}

// TestWhatHasNoJSON: AUD-1001, AUD-1006. An entry that no log can hold is an error of each sink, and no part of it is written.
func TestWhatHasNoJSON(t *testing.T) {
	path := t.TempDir() + "/audit.jsonl"
	file, err := loader.OpenAuditFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out bytes.Buffer
	sinks := map[string]loader.AuditSink{
		"file": file, "writer": loader.NewAuditWriter(&out), "handler": loader.NewAuditHandler(slog.NewJSONHandler(&out, nil)),
	}
	unsigned := &loader.Entry{Bundles: loader.Bundles{"policy": {Signed: &policy.Statement{}}}}
	for name, sink := range sinks {
		if err := sink.Record(context.Background(), unsigned); !errors.Is(err, policy.ErrStatement) {
			t.Errorf("AUD-1006 %s: error %v", name, err)
		}
	}
	late := &loader.Entry{Timestamp: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)} // RFC 3339 has four digits
	for _, name := range []string{"file", "writer"} {
		if err := sinks[name].Record(context.Background(), late); err == nil || !strings.Contains(err.Error(), "year") {
			t.Errorf("AUD-1006 %s: error %v", name, err)
		}
	}
	if log, err := os.ReadFile(path); err != nil || len(log) != 0 || out.Len() != 0 {
		t.Errorf("written: %q and %q, error %v", log, &out, err)
	}
	for name, sink := range sinks { // the control
		if err := sink.Record(context.Background(), &loader.Entry{Timestamp: time.Unix(0, 0)}); err != nil {
			t.Errorf("AUD-1006 %s: error %v", name, err)
		}
	}
}

// TestAuditOptions: AUD-1002. With every entry on the disk before the load goes on.
func TestAuditOptions(t *testing.T) {
	w := newWorld(t)
	f, err := loader.AuditOptions{Sync: true}.OpenFile(w.dir + "/audit.jsonl")
	must(w, err)
	defer f.Close()
	must(w, f.Record(context.Background(), &loader.Entry{DecisionID: "x"}))
	must(w, f.Check(context.Background()))
	if v := verified(t, w.dir+"/audit.jsonl"); !v.Intact() || v.Entries != 1 {
		t.Errorf("%+v", v.Findings)
	}
}

// TestAuditHoldsNoSecret: AUD-1007. Whatever is in a file, and whatever its name, no eight bytes of the content come into
// any log, in no spelling.
func TestAuditHoldsNoSecret(t *testing.T) {
	w := newWorld(t)
	tried := 0
	rapid.Check(t, func(rt *rapid.T) {
		content := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 8, 80), rapid.Map(rapid.StringMatching(`[ -~]{8,80}`), func(s string) []byte { return []byte(s) }))
		tried += noneIn(rt, w, content.Draw(rt, "content"), rapid.String().Draw(rt, "name"))
	})
	if tried < 20 {
		t.Errorf("%d contents were tried", tried)
	}
}

// FuzzAuditHoldsNoSecret: AUD-1007.
func FuzzAuditHoldsNoSecret(f *testing.F) {
	f.Add([]byte("fake-token-0123456789"), "token")
	f.Add([]byte(fakeHex), "seal key\n")
	f.Add([]byte("\x00\x01\x02\xff\xfe\xfd\xfc\xfb\xfa"), "\u202e")
	f.Add([]byte(`{"allow":true,"reasons":[]}`), "input")
	f.Fuzz(func(t *testing.T, content []byte, name string) { noneIn(t, newWorld(t), content, name) })
}

// noneIn loads content and other content of the same length, and reports what of the first alone is in a log. It returns 1
// when that could be tried.
func noneIn(t interface{ Fatalf(string, ...any) }, w *world, content []byte, name string) int {
	path := filepath.Join(w.dir, "d", filepath.Base(filepath.Clean("/"+name)))
	if len(content) < 8 || len(content) > 256 || os.MkdirAll(w.dir+"/d", 0o700) != nil || os.WriteFile(path, content, 0o600) != nil {
		return 0 // no name of a file
	}
	got := logsOf(w, path)
	must(w, os.WriteFile(path, bytes.Repeat([]byte("#"), len(content)), 0o600))
	control := logsOf(w, path)
	for i := 0; i+8 <= len(content); i++ {
		for _, spelled := range spellings(content[i : i+8]) {
			if strings.Contains(got, spelled) && !strings.Contains(control, spelled) {
				t.Fatalf("%q of the content is in a log: %s", spelled, got)
			}
		}
	}
	return 1
}

// logsOf loads a file in every way and gives what that leaves in the audit logs, the log and the errors, without what is
// drawn at random or of the time.
func logsOf(w *world, path string) string {
	var out, log bytes.Buffer
	l, err := loader.New(loader.Config{Service: service, Policy: w.engine, Logger: slog.New(slog.NewJSONHandler(&log, nil)), Audit: loader.NewAuditMulti(
		loader.NewAuditWriter(&out), loader.NewAuditHandler(slog.NewTextHandler(&out, nil)), &recorder{})})
	must(w, err)
	ctx := context.Background()
	if s, err := l.LoadSecret(ctx, loader.File(path)); err == nil {
		s.Close()
	} else {
		fmt.Fprintln(&out, err)
	}
	if k, err := l.LoadKey(ctx, loader.File(path)); err == nil {
		k.Close()
	} else {
		fmt.Fprintln(&out, err)
	}
	if k, err := l.DeriveKey(ctx, "test-purpose-v1", loader.File(path)); err == nil {
		k.Close()
	} else {
		fmt.Fprintln(&out, err)
	}
	out.Write(log.Bytes())
	return random.ReplaceAllString(out.String(), "")
}

// random matches ids, digests and times.
var random = regexp.MustCompile(`[0-9a-f]{32,}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]+`)

func spellings(b []byte) []string {
	quoted, _ := json.Marshal(string(b))
	return slices.Compact([]string{
		string(b), fmt.Sprintf("%x", b), fmt.Sprintf("%X", b), strings.Trim(string(quoted), `"`), strings.Trim(fmt.Sprintf("%q", b), `"`),
		fmt.Sprintf("%v", []any{b})[1:],
	})
}
