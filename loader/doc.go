// Package loader loads secrets through a policy. A service says who it is and what it wants; the policy decides, from
// metadata alone, inside a WebAssembly sandbox; only then are the bytes read, straight into locked memory.
//
// Every load takes the same seven steps, and none of them can be left out:
//
//  1. the reference is checked: absolute path, valid name, UTF-8;
//  2. the policy is asked whether this service may ask for it at all. A refusal here touches no file, so it is the same
//     whether the file exists or not: [ErrDenied] with the one reason no_grant;
//  3. the path is walked component by component on descriptors, links expanded by us;
//  4. facts are taken from the descriptor that will be read: type, mode, owner, links, file system, who can write;
//  5. the policy decides, and the verdict is recorded in the audit log; a log that cannot be written denies;
//  6. the same inode is opened for reading, compared with what was decided on, read twice, and compared again;
//  7. the outcome is recorded under the same decision id.
//
// A service that needs several secrets loads them with [Loader.LoadAll], takes paths from its environment with
// [FileFromEnv], and answers readiness probes with [Loader.Health]. A grant can demand more of it than its name: a uid or a
// systemd unit, which the process proves by what the kernel says of it.
//
// The audit log is an [AuditSink]: a file whose entries are chained, so that secretcheck audit verify shows what was done
// to it ([OpenAuditFile]), a writer, a handler of log/slog, or several at once.
//
// What this does not do: an in-process library cannot stop hostile code in the same process from opening the file
// itself. It stops misconfiguration, drift, the wrong identity, permissive and swapped files, leaks and unreviewed
// access.
//
// Linux is the system that this package is made for. On others the walk is by name, which leaves a window between check
// and use; a warning says so, and the default rules accept a file there only by a grant that names the system.
package loader
