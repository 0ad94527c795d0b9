package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/internal/auditlog"
)

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "audit COMMAND",
		DisableFlagsInUseLine: true,
		Short:                 "verify audit logs",
		Example:               `  secretcheck audit verify /var/log/llorch/audit.jsonl*`,
		RunE:                  noCommand,
	}
	cmd.AddCommand(newAuditVerify())
	return cmd
}

// verifyFlags are the flags of audit verify.
type verifyFlags struct {
	after  string
	expect string
	output outputs
}

func newAuditVerify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "tell whether an audit log is what was written",
		Example: `  secretcheck audit verify /var/log/llorch/audit.jsonl*
  secretcheck audit verify audit.jsonl --expect-head 1204:9c0f…e1 --format json`,
		Long: `Check the chain of hashes through the files of one audit log: an entry that was
changed, taken out, moved or cut off shows. Files that the log was rotated into
can be given in any order; they are sorted by their first entry. The .head file
of a log tells where the log ended; it is read where it lies beside one, or
can be among the files.

Who can write the log can write all of it anew. Only a head that is kept
elsewhere shows that: keep the one that is printed, and pass it the next time.

exit codes: 4 bad input or usage, 1 the log is not what was written, 0 it is`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAuditVerify(cmd, &f, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.expect, "expect-head", "", "`HEAD` that an earlier run printed: it has to be in the chain")
	flags.StringVar(&f.after, "after", "", "`HEAD` that the first entry follows, where older files are not at hand")
	f.output.register(flags, formatNames)
	return cmd
}

func runAuditVerify(cmd *cobra.Command, f *verifyFlags, names []string) error {
	if len(names) == 0 {
		return usage("secretcheck audit verify --help", "no audit log given")
	}
	if err := f.output.valid(); err != nil {
		return err
	}
	after, err := parseHead("--after", f.after)
	if err != nil {
		return err
	}
	expect, err := parseHead("--expect-head", f.expect)
	if err != nil {
		return err
	}
	var read atomic.Int64
	say := func() string { return fmt.Sprintf("verified %d MB", read.Load()/1e6) }
	r, err := working(cmd, say, func() (verified, error) { return verify(names, after, expect, &read) })
	defer closeAll(r.logs)
	if err != nil {
		return err
	}
	return tellVerdict(cmd, f, r.logs, r.verifier)
}

// verified is what was read, and what came of it.
type verified struct {
	logs     []openLog
	verifier *auditlog.Verifier
}

func verify(names []string, after, expect auditlog.Head, read *atomic.Int64) (verified, error) {
	logs, head, err := openLogs(names)
	r := verified{logs, auditlog.NewVerifier(after, expect)}
	if err != nil {
		return r, err
	}
	for _, l := range logs {
		if err := r.verifier.Read(l.name, counting{l.lines, read}); err != nil {
			return r, usage("name the files of an audit log that you may read", "audit log: %w", short(err))
		}
	}
	r.verifier.Finish(head)
	return r, nil
}

func tellVerdict(cmd *cobra.Command, f *verifyFlags, logs []openLog, v *auditlog.Verifier) error {
	if v.Entries == 0 && len(v.Findings) == 0 {
		return usage("name the files of an audit log", "no entry found in %q", nameList(logs))
	}
	var inputs []os.FileInfo
	for _, l := range logs {
		if info, err := l.file.Stat(); err == nil {
			inputs = append(inputs, info)
		}
	}
	if err := f.output.spare(inputs); err != nil {
		return err
	}
	if err := f.output.writeWith(cmd.OutOrStdout(), func(w io.Writer, kind string) error {
		return report.Audit(w, kind, v)
	}); err != nil {
		return err
	}
	if !v.Intact() {
		return &failure{code: exitDenied}
	}
	return nil
}

func parseHead(flag, text string) (auditlog.Head, error) {
	if text == "" {
		return auditlog.Head{}, nil
	}
	h, err := auditlog.ParseHead(text)
	if err != nil {
		return auditlog.Head{}, usage("take it from a report of this command", "%s %q: %w", flag, text, err)
	}
	return h, nil
}

// openLog is a file of a log, with what was read ahead of it.
type openLog struct {
	name  string
	file  *os.File
	lines *bufio.Reader
	first uint64
}

// openLogs opens the files in the order of their first entries, those without one as they were given, at the end. The
// head is read before the logs, which only grow: so a log that is written to meanwhile never lacks what its head says.
func openLogs(names []string) ([]openLog, auditlog.Head, error) {
	var logs []openLog
	var head auditlog.Head
	for _, name := range names {
		if h, ok := headFile(name); ok {
			head = later(head, h)
			continue
		}
		if h, ok := headFile(name + auditlog.HeadSuffix); ok {
			head = later(head, h)
		}
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			var info os.FileInfo
			if info, err = f.Stat(); err == nil && info.IsDir() {
				err = &os.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
			}
		}
		if err != nil {
			if f != nil {
				_ = f.Close()
			}
			return logs, head, usage("name the files of an audit log that you may read", "audit log: %w", short(err))
		}
		lines := bufio.NewReader(f)
		logs = append(logs, openLog{name, f, lines, auditlog.FirstSeq(lines)})
	}
	slices.SortStableFunc(logs, func(a, b openLog) int {
		return cmp.Compare(a.first-1, b.first-1) // 0 becomes the largest
	})
	return logs, head, nil
}

func later(a, b auditlog.Head) auditlog.Head {
	if b.Seq > a.Seq {
		return b
	}
	return a
}

// headFile reads a head file, if that is what the name leads to.
func headFile(name string) (auditlog.Head, bool) {
	if !strings.HasSuffix(name, auditlog.HeadSuffix) {
		return auditlog.Head{}, false
	}
	text, err := readBounded(name, 1<<10)
	if err != nil {
		return auditlog.Head{}, false
	}
	return auditlog.RecordedHead(text)
}

func closeAll(logs []openLog) {
	for _, l := range logs {
		_ = l.file.Close()
	}
}

func nameList(logs []openLog) []string {
	var names []string
	for _, l := range logs {
		names = append(names, l.name)
	}
	return names
}
