package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

const grants = `{"secrets": {"services": {"s": [{"id": "a", "actions": ["load_secret"], "source": "file", "paths": ["/a"]}]}}}`

func request(path string) *policy.Request {
	return &policy.Request{
		Subject: policy.Subject{Service: "s", UID: 7}, Action: policy.LoadSecret,
		Resource: policy.Resource{
			Source: policy.SourceFile, Path: path, Resolved: path, Facts: policy.FactsObserved,
			File: policy.File{
				Type: "regular", Mode: 0o600, UID: 7, OwnerIsMe: true, Size: 9, NLink: 1, Filesystem: "ext4",
				Readers: policy.Principals{UIDs: []int64{7}}, Writers: policy.Principals{UIDs: []int64{0, 7}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
	}
}

func engine(t *testing.T, grants string) *policy.Engine {
	t.Helper()
	e, err := policy.Default([]byte(grants))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// line is one entry, as a service writes it.
func line(t *testing.T, id string, r *policy.Request, d policy.Decision) string {
	t.Helper()
	var b bytes.Buffer
	e := &loader.Entry{DecisionID: id, Timestamp: time.Unix(0, 0).UTC(), Path: policy.EntrypointDecision, Input: r, Result: &d}
	if err := loader.NewAuditWriter(&b).Record(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCHK1240FirstWitness: CHK-1240 CHK-1242. However the lines are spread over goroutines, the witness of a row is the first entry
// that shows it, every entry is counted once, and what is held does not grow with the log.
func TestCHK1240FirstWitness(t *testing.T) {
	e := engine(t, grants)
	allowed, err := e.Decide(t.Context(), request("/a"))
	if err != nil || !allowed.Allowed() {
		t.Fatalf("%v, error %v", allowed.Codes(), err)
	}
	same, gains := line(t, "same", request("/a"), allowed), line(t, "gains", request("/a"), policy.Denial([]policy.Reason{{Code: "x", Severity: "error"}}))
	const n, first = 20_000, 777
	log, w := io.Pipe()
	go func() {
		for i := range n {
			text := same
			if i >= first-1 && i%3 == (first-1)%3 {
				text = gains
			}
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
		_ = w.Close()
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	p := &Replayer{New: e}
	if err := p.Read(t.Context(), "log", log); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	r := &p.Result
	rows := r.Table.Rows
	if len(rows) != 1 || rows[0].Kind != change.Gains || rows[0].Witness.Place != fmt.Sprintf("log:%d", first) || rows[0].Witness.DecisionID != "gains" {
		t.Fatalf("%+v", rows)
	}
	if r.Entries != n || r.Replayed != n || r.Same+r.Table.Widening != n || rows[0].Count != r.Table.Widening {
		t.Errorf("%+v, %d of the row", r, rows[0].Count)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 || len(p.memo.known) != 2 {
		t.Errorf("%d bytes are held after a log of %d, %d answers", grown, n*len(same), len(p.memo.known))
	}
}

// TestCHK1242MemoIsBounded: CHK-1242. Answers that are never asked for again do not add up.
func TestCHK1242MemoIsBounded(t *testing.T) {
	var m memo
	for i := range 3 * maxMemo / ownBytes {
		m.put(keyOf(&recorded.Entry{Path: fmt.Sprint(i)}), &outcome{request: request("/a")})
	}
	if m.bytes > maxMemo || len(m.known)*ownBytes > maxMemo {
		t.Errorf("%d answers, %d bytes", len(m.known), m.bytes)
	}
	m.put(keyOf(&recorded.Entry{Path: "a"}), &outcome{why: "a"})
	if o := m.get(keyOf(&recorded.Entry{Path: "a"})); o == nil || o.why != "a" {
		t.Error("the last answer is gone")
	}
	if m.get(keyOf(&recorded.Entry{Path: "a", Error: []byte(`"e"`)})) != nil || m.get(keyOf(&recorded.Entry{Input: []byte("a")})) != nil {
		t.Error("another entry has its answer")
	}
}

// failing is a policy that gives no answer.
type failing struct{ err error }

func (f failing) Decide(context.Context, *policy.Request) (policy.Decision, error) {
	return policy.Decision{}, f.err
}

func (f failing) Ask(context.Context, *policy.Request) (policy.Decision, error) {
	return policy.Decision{}, f.err
}

// TestCHK1241FailuresAreNoAnswers: CHK-1241 CHK-1243.
func TestCHK1241FailuresAreNoAnswers(t *testing.T) {
	text := line(t, "a", request("/a"), policy.Denial(nil))
	for why, err := range map[string]error{recorded.WhyEngine: errors.New("fuel"), recorded.WhyBadInput: fmt.Errorf("%w: action", policy.ErrRequest)} {
		p := &Replayer{New: failing{err}}
		if err := p.Read(t.Context(), "log", strings.NewReader(text+text)); err != nil {
			t.Fatal(err)
		}
		if p.Result.Unclear[why] != 2 || p.Result.Replayed != 0 || p.Result.NotReplayed() != 2 || len(p.Result.Samples) != 1 {
			t.Errorf("%+v", p.Result)
		}
	}
}

// TestCHK1243Stops: CHK-1243. Nobody who left gets a result.
func TestCHK1243Stops(t *testing.T) {
	text := line(t, "a", request("/a"), policy.Denial(nil))
	ctx, stop := context.WithCancel(t.Context())
	log, w := io.Pipe()
	go func() {
		for i := 0; ; i++ {
			if i == 1000 {
				stop()
			}
			if _, err := io.WriteString(w, text); err != nil {
				return
			}
		}
	}()
	p := &Replayer{New: engine(t, grants)}
	err := p.Read(ctx, "log", log)
	_ = log.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestCHK1246OldAnswersInsteadOfTheRecord: CHK-1246 CHK-1248. With two policies it is their answers that are compared, whatever the
// log says, also for a load that came to no verdict.
func TestCHK1246OldAnswersInsteadOfTheRecord(t *testing.T) {
	wider := strings.ReplaceAll(grants, `"/a"`, `"/a", "/b"`)
	var b bytes.Buffer
	e := &loader.Entry{DecisionID: "b", Path: policy.EntrypointDecision, Input: request("/b"), Result: &policy.Decision{}, Error: "not found"}
	if err := loader.NewAuditWriter(&b).Record(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	log := line(t, "a", request("/a"), policy.Denial(nil)) + b.String()
	told := 0
	p := &Replayer{Old: engine(t, grants), New: engine(t, wider), Each: func(*policy.Request, change.Answer) { told++ }}
	if err := p.Read(t.Context(), "log", strings.NewReader(log)); err != nil {
		t.Fatal(err)
	}
	r := &p.Result
	if r.Replayed != 2 || r.Same != 1 || len(r.Table.Rows) != 1 || r.Table.Rows[0].Kind != change.MayGain || r.Table.Rows[0].Path != "/b" || told != 2 {
		t.Errorf("%+v, %+v, told %d", r, r.Table.Rows, told)
	}
}
