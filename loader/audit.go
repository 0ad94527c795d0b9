package loader

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
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
	Bundles    Bundles          `json:"bundles,omitempty"` // the policy that answered, under the name "policy"
	Input      *policy.Request  `json:"input,omitempty"`
	Result     *policy.Decision `json:"result,omitempty"`
	Error      string           `json:"error,omitempty"`   // why there is no verdict, or why an allowed load failed
	Outcome    string           `json:"outcome,omitempty"` // "loaded", "failed" or "preflight"; empty in a verdict's entry
}

// Bundles names policies. It is empty where none answered.
type Bundles map[string]Bundle

// Bundle is a policy that answered.
type Bundle struct {
	Revision string            `json:"revision"`         // of its manifest
	Digest   string            `json:"digest"`           // SHA-256 of its module and data, hexadecimal
	Signed   *policy.Statement `json:"signed,omitempty"` // what its signer said; nil for nobody
}

// MarshalJSON gives the entry as the sinks of this package write it.
func (e *Entry) MarshalJSON() ([]byte, error) { return e.append(nil) }

// append is written by hand, since every load waits for two.
func (e *Entry) append(b []byte) ([]byte, error) {
	b = appendString(append(b, `{"decision_id":`...), e.DecisionID)
	b, err := e.Timestamp.AppendText(append(b, `,"timestamp":"`...))
	if err != nil {
		return nil, err
	}
	b = appendString(append(b, `","path":`...), e.Path)
	for _, m := range members {
		if m.has(e) {
			if b, err = m.append(append(append(append(b, `,"`...), m.name...), `":`...), e); err != nil {
				return nil, err
			}
		}
	}
	if e.Error != "" {
		b = appendString(append(b, `,"error":`...), e.Error)
	}
	if e.Outcome != "" {
		b = appendString(append(b, `,"outcome":`...), e.Outcome)
	}
	return append(b, '}'), nil
}

// members are the parts of an entry that are JSON of their own.
var members = [...]struct { //nolint:gochecknoglobals // a constant
	name   string
	has    func(*Entry) bool
	append func([]byte, *Entry) ([]byte, error)
}{
	{"bundles", func(e *Entry) bool { return len(e.Bundles) > 0 }, func(b []byte, e *Entry) ([]byte, error) { return e.Bundles.append(b) }},
	{"input", func(e *Entry) bool { return e.Input != nil }, func(b []byte, e *Entry) ([]byte, error) { return e.Input.AppendJSON(b) }},
	{"result", func(e *Entry) bool { return e.Result != nil }, func(b []byte, e *Entry) ([]byte, error) { return e.Result.AppendJSON(b), nil }},
}

// append appends the members in the order of their names.
func (m Bundles) append(b []byte) ([]byte, error) {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		v := m[name]
		b = appendString(append(appendString(b, name), `:{"revision":`...), v.Revision)
		b = appendString(append(b, `,"digest":`...), v.Digest)
		if v.Signed != nil {
			text, err := v.Signed.MarshalText()
			if err != nil {
				return nil, err
			}
			b = appendString(append(b, `,"signed":`...), string(text))
		}
		b = append(b, '}')
	}
	return append(b, '}'), nil
}

// appendString appends JSON of a string, as encoding/json does, which is asked where there is anything to escape.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string always has a JSON
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// NewAuditWriter returns a sink that writes an entry a line, each with one call of w.Write. The lines are not chained: a
// writer does not say what it held before. It is safe for concurrent use, also when w is not.
func NewAuditWriter(w io.Writer) AuditSink { return &jsonLines{w: w} }

type jsonLines struct {
	mu sync.Mutex
	w  io.Writer
}

func (j *jsonLines) Record(_ context.Context, e *Entry) error {
	return withJSON(e, func(entry []byte) error {
		line := append(auditlog.ASCII(entry), '\n')
		j.mu.Lock()
		defer j.mu.Unlock()
		n, err := j.w.Write(line)
		if err == nil && n < len(line) {
			err = io.ErrShortWrite
		}
		return err
	})
}

// room is where entries are encoded: every load needs it twice.
var room = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // entries hold no secrets

// withJSON lends the JSON of an entry.
func withJSON(e *Entry, use func([]byte) error) error {
	b, ok := room.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	defer room.Put(b)
	entry, err := e.append((*b)[:0])
	if err != nil {
		return err
	}
	*b = entry
	return use(entry)
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
	for _, m := range members {
		if !m.has(e) {
			continue
		}
		text, err := m.append(nil, e)
		if err != nil {
			return err
		}
		r.AddAttrs(slog.Any(m.name, jsonText(auditlog.ASCII(text))))
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
