package loader

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/llorch/secrets-management/internal/auditlog"
	"github.com/llorch/secrets-management/policy"
)

// AuditSink takes the record of every verdict before anything is done on it, and of every outcome after. An error
// denies the load. It is called from several goroutines at once.
type AuditSink interface {
	Record(ctx context.Context, e *Entry) error
}

// Entry is one audit record. Its JSON has the shape of OPA's decision logs
// (https://www.openpolicyagent.org/docs/management-decision-logs). It holds names and facts, never a secret.
//
// A load writes one entry for its verdict, with input and result, and one for the outcome if it was allowed.
type Entry struct {
	DecisionID string           `json:"decision_id"` // the verdict and the outcome of one load share it
	Timestamp  time.Time        `json:"timestamp"`
	Path       string           `json:"path"`              // the entrypoint that was asked
	Bundles    map[string]any   `json:"bundles,omitempty"` // revision, digest and signed statement of the policy that answered
	Input      *policy.Request  `json:"input,omitempty"`
	Result     *policy.Decision `json:"result,omitempty"`
	Error      string           `json:"error,omitempty"`   // why there is no verdict, or why an allowed load failed
	Outcome    string           `json:"outcome,omitempty"` // "loaded", "failed" or "preflight"; empty in a verdict's entry
}

// MarshalJSON gives the entry as the sinks of this package write it.
func (e *Entry) MarshalJSON() ([]byte, error) {
	type plain Entry
	head := plain(*e)
	head.Input, head.Result, head.Error, head.Outcome = nil, nil, "", ""
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	// Both are JSON already; encoding/json would read them again.
	if e.Input != nil {
		if b, err = appendMember(b, "input", e.Input); err != nil {
			return nil, err
		}
	}
	if e.Result != nil {
		if b, err = appendMember(b, "result", e.Result); err != nil {
			return nil, err
		}
	}
	for _, m := range [...][2]string{{"error", e.Error}, {"outcome", e.Outcome}} {
		if m[1] == "" {
			continue
		}
		text, err := json.Marshal(m[1])
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, `,"`...), m[0]+`":`...), text...)
	}
	return append(b, '}'), nil
}

func appendMember(b []byte, name string, v json.Marshaler) ([]byte, error) {
	text, err := v.MarshalJSON()
	return append(append(append(b, `,"`...), name+`":`...), text...), err
}

// NewAuditWriter returns a sink that writes an entry a line, each with one call of w.Write. The lines are not chained: a
// writer does not say what it held before. It is safe for concurrent use, also when w is not.
func NewAuditWriter(w io.Writer) AuditSink { return &jsonLines{w: w} }

type jsonLines struct {
	mu sync.Mutex
	w  io.Writer
}

func (j *jsonLines) Record(_ context.Context, e *Entry) error {
	line, err := e.MarshalJSON()
	if err != nil {
		return err
	}
	line = append(auditlog.AppendASCII(nil, line), '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	n, err := j.w.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}

// NewAuditHandler returns a sink that gives each entry to a handler of [log/slog] as one record of level Info, with the
// members of the entry as attributes. A handler that does not take that level is an error for every entry, not silence.
// It is safe for concurrent use.
func NewAuditHandler(h slog.Handler) AuditSink { return handlerSink{h} }

type handlerSink struct{ slog.Handler }

func (s handlerSink) Record(ctx context.Context, e *Entry) error {
	if err := s.Check(ctx); err != nil {
		return err
	}
	r := slog.NewRecord(e.Timestamp, slog.LevelInfo, "secret decision", 0)
	r.AddAttrs(slog.String("decision_id", e.DecisionID), slog.String("path", e.Path))
	for _, member := range []struct {
		name string
		json any
		has  bool
	}{{"bundles", e.Bundles, len(e.Bundles) > 0}, {"input", e.Input, e.Input != nil}, {"result", e.Result, e.Result != nil}} {
		if member.has {
			text, err := json.Marshal(member.json)
			if err != nil {
				return err
			}
			r.AddAttrs(slog.Any(member.name, jsonText(auditlog.AppendASCII(nil, text))))
		}
	}
	if e.Error != "" {
		r.AddAttrs(slog.String("error", e.Error))
	}
	if e.Outcome != "" {
		r.AddAttrs(slog.String("outcome", e.Outcome))
	}
	return s.Handle(ctx, r)
}

// Check reports whether the handler takes entries.
func (s handlerSink) Check(ctx context.Context) error {
	if s.Handler == nil || !s.Enabled(ctx, slog.LevelInfo) {
		return errors.New("the handler does not take records of level Info")
	}
	return nil
}

// jsonText is JSON that a handler of JSON nests and a handler of text quotes.
type jsonText []byte

func (j jsonText) MarshalJSON() ([]byte, error) { return j, nil }
func (j jsonText) MarshalText() ([]byte, error) { return j, nil }

// NewAuditMulti returns a sink that gives each entry to all of the sinks, in order, and fails if one of them does. Without
// any it always fails.
func NewAuditMulti(sinks ...AuditSink) AuditSink { return multiSink(slices.Clone(sinks)) }

type multiSink []AuditSink

func (m multiSink) Record(ctx context.Context, e *Entry) error {
	return m.each(func(s AuditSink) error { return s.Record(ctx, e) })
}

// Check reports what is wrong with any of the sinks.
func (m multiSink) Check(ctx context.Context) error {
	return m.each(func(s AuditSink) error { return checkSink(ctx, s) })
}

func (m multiSink) each(do func(AuditSink) error) error {
	if len(m) == 0 {
		return errors.New("there is no audit sink")
	}
	var errs []error
	for _, s := range m {
		if s == nil {
			errs = append(errs, errors.New("an audit sink is nil"))
			continue
		}
		errs = append(errs, do(s))
	}
	return errors.Join(errs...)
}

// checkSink asks a sink whether it could record, if it can say.
func checkSink(ctx context.Context, s AuditSink) error {
	if c, ok := s.(interface{ Check(context.Context) error }); ok {
		return c.Check(ctx)
	}
	return nil
}
