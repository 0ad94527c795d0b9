package loader

import (
	"context"
	"fmt"

	"github.com/llorch/secrets-management/internal/auditlog"
)

// AuditOptions says how an audit log is written. The zero value is what [OpenAuditFile] uses.
type AuditOptions struct {
	// Sync makes every entry reach the disk before the load goes on (fsync(2)): an entry survives a power failure then,
	// and a load takes as long as the disk does, twice.
	Sync bool
}

// AuditFile is a sink that appends to a file, an entry a line, chained by hashes, so that entries that were changed, taken
// out, moved or cut off show; `secretcheck audit verify` says so. It is safe for concurrent use, also by several processes
// and through several AuditFiles: one entry is written at a time, under a lock.
//
// Beside the log lies a file with the ending .head, which holds the last entry's number and hash. When the log is renamed
// away, the next entry goes into a new one at its path, and the chain goes on: nothing needs to be told of a rotation. Do
// not rotate by copying and truncating, which looks like what it is, and leave the .head file where it is.
//
// What a write leaves that went wrong, on a full disk, is taken back, or told in the next entry.
type AuditFile struct{ log *auditlog.Log }

// OpenAuditFile opens an audit log for appending and creates it with mode 0600 if need be, in a folder that the service
// may write to. A symbolic link, anything but a regular file with one name, a file that somebody else owns, can read or
// write, and one that holds anything but a chain of entries are refused: who can write the log can forge it.
func OpenAuditFile(name string) (*AuditFile, error) { return AuditOptions{}.OpenFile(name) }

// OpenFile is as [OpenAuditFile], with options.
func (o AuditOptions) OpenFile(name string) (*AuditFile, error) {
	log, err := auditlog.Open(name, o.Sync)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return &AuditFile{log}, nil
}

// Record appends an entry. It waits for other writers, at most two seconds and not longer than ctx allows.
func (a *AuditFile) Record(ctx context.Context, e *Entry) error {
	return withJSON(e, func(entry []byte) error { return a.log.Append(ctx, entry) })
}

// Check reports whether an entry could be written now, as far as that can be told without one: the file is there and the
// service's own, and, where the file system can tell, there is room. [Loader.Health] asks.
func (a *AuditFile) Check(ctx context.Context) error { return a.log.Check(ctx) }

// Close closes the file. Loads that are recorded after it are denied.
func (a *AuditFile) Close() error { return a.log.Close() }
