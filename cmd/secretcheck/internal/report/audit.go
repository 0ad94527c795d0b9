package report

import (
	"bytes"
	"fmt"
	"io"

	"github.com/llorch/secrets-management/internal/auditlog"
)

// auditReport is the JSON form of what is known about an audit log, an interface.
type auditReport struct {
	SchemaVersion int             `json:"schema_version"`
	Intact        bool            `json:"intact"`
	Entries       int             `json:"entries"`
	First         uint64          `json:"first"`
	Last          uint64          `json:"last"`
	Head          string          `json:"head"`
	Files         []auditlog.File `json:"files"`
	Findings      []auditFinding  `json:"findings"`
	Omitted       int             `json:"omitted"`
}

type auditFinding struct {
	auditlog.Finding

	Severity string `json:"severity"`
}

// Audit writes what the verification of an audit log gave, in the format of that name.
func Audit(w io.Writer, format string, v *auditlog.Verifier) error {
	if format == "json" {
		return Value(w, auditJSON(v))
	}
	_, err := w.Write(auditPretty(v))
	return err
}

func auditJSON(v *auditlog.Verifier) auditReport {
	r := auditReport{
		SchemaVersion: schemaVersion, Intact: v.Intact(), Entries: v.Entries, First: v.First, Last: v.Head.Seq,
		Head: headText(v.Head), Files: append([]auditlog.File{}, v.Files...), Findings: []auditFinding{}, Omitted: v.Omitted,
	}
	for _, f := range v.Findings {
		r.Findings = append(r.Findings, auditFinding{f, severity(f)})
	}
	return r
}

func severity(f auditlog.Finding) string {
	if f.Note {
		return "note"
	}
	return "error"
}

func headText(h auditlog.Head) string {
	if h.Seq == 0 {
		return ""
	}
	return h.String()
}

func auditPretty(v *auditlog.Verifier) []byte {
	var b bytes.Buffer
	for _, f := range v.Findings {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		fmt.Fprintf(&b, "%s\n  %s %s: %s\n", Text(place), severity(f), f.Rule, Text(f.Message))
	}
	if v.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more\n", v.Omitted)
	}
	if len(v.Findings) > 0 {
		b.WriteByte('\n')
	}
	for _, f := range v.Files {
		fmt.Fprintf(&b, "%s: %d entries", Text(f.Name), f.Entries)
		if f.Entries > 0 {
			fmt.Fprintf(&b, ", %d to %d", f.First, f.Last)
		}
		b.WriteByte('\n')
	}
	if !v.Intact() {
		fmt.Fprintf(&b, "not what was written: %s, %d entries\n", count(len(v.Findings)+v.Omitted, "finding"), v.Entries)
		return b.Bytes()
	}
	fmt.Fprintf(&b, "whole: %d entries, %d to %d, each as it was written\nhead: %s\n", v.Entries, v.First, v.Head.Seq, v.Head)
	return b.Bytes()
}
