package loader

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

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

// NewAuditWriter returns a sink that writes an entry a line, each with one call of w.Write. It is safe for concurrent
// use, also when w is not.
func NewAuditWriter(w io.Writer) AuditSink { return &jsonLines{w: w} }

type jsonLines struct {
	mu sync.Mutex
	w  io.Writer
}

func (j *jsonLines) Record(_ context.Context, e *Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.w.Write(line)
	return err
}

// AuditFile is a sink that appends to a file. It is safe for concurrent use, also by several processes: a line is one
// write to a descriptor opened with O_APPEND.
type AuditFile struct {
	AuditSink

	f *os.File
}

// OpenAuditFile opens a JSON-lines audit log for appending and creates it with mode 0600 if need be. A symbolic link,
// anything but a regular file with one name, and a file that somebody else owns, can read or write are refused: who can
// write the log can forge it.
func OpenAuditFile(name string) (*AuditFile, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|openNoFollow, 0o600) //nolint:gosec // G304: the caller names its own log
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAudit, err)
	}
	if err := checkAuditFile(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %q: %w", ErrAudit, name, err)
	}
	return &AuditFile{NewAuditWriter(f), f}, nil
}

func checkAuditFile(f *os.File) error {
	fi, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("not a regular file")
	case modesMatter && fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("mode %04o, expected 0600", fi.Mode().Perm())
	}
	return checkOwner(fi)
}

// Close closes the file. Loads that are recorded after it are denied.
func (a *AuditFile) Close() error { return a.f.Close() }
