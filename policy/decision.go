package policy

import (
	"slices"
	"strings"
)

// Decision is the verdict of a policy. The zero Decision denies, and only an [Engine] can make one that allows. It is a
// value that nobody can change, so that an engine may hand the same one to many callers, and safe for concurrent use.
type Decision struct {
	allow       bool
	obligations Obligations
	said        *said // nil is nothing
	by          *Info // nil is nobody
}

// said is what goes with a verdict. It is shared, and never changed once it belongs to a Decision.
type said struct {
	reasons []Reason
	grants  []string
}

// Denial is a decision that refuses, for whoever stands before a policy or in for one.
func Denial(reasons []Reason, grants ...string) Decision {
	return Decision{said: &said{slices.Clone(reasons), slices.Clone(grants)}}
}

// Allowed reports whether the policy said a clear yes.
func (d Decision) Allowed() bool { return d.allow }

// Info describes the bundle that made the decision. It is zero when none did.
func (d Decision) Info() Info {
	if d.by == nil {
		return Info{}
	}
	return *d.by
}

// Obligations are the conditions of an allow.
func (d Decision) Obligations() Obligations { return d.obligations }

// Reasons is a copy of what the policy had to say, in its order; nil is nothing.
func (d Decision) Reasons() []Reason {
	if d.said == nil {
		return nil
	}
	return slices.Clone(d.said.reasons)
}

// Grants is a copy of the ids of the grants that matched, in the policy's order; nil is none.
func (d Decision) Grants() []string {
	if d.said == nil {
		return nil
	}
	return slices.Clone(d.said.grants)
}

// Codes lists the codes of the reasons, in order.
func (d Decision) Codes() []string {
	codes := []string{}
	if d.said != nil {
		for _, r := range d.said.reasons {
			codes = append(codes, r.Code)
		}
	}
	return codes
}

// Reason is one thing that a policy has to say about a request. Message and Fix are written by the guest: they are
// bounded, and whoever prints them quotes them. Services see only the code.
type Reason struct {
	Code     string // [a-z0-9_]{1,64}
	Message  string
	Severity Severity
	Fix      string
}

// Severity grades a reason.
type Severity string

// An error denies. A warning or a note may accompany an allow.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityNote    Severity = "note"
)

// Obligations are conditions of an allow that the host must enforce. Zero means none.
type Obligations struct {
	MaxBytes  int64  // refuse content longer than this, before trimming
	MinLength int64  // refuse content shorter than this, after trimming
	MinMemory Memory // refuse to load into less protected memory; "" is any
}

// MarshalJSON gives the shape of the policy's result.
func (d Decision) MarshalJSON() ([]byte, error) { return d.AppendJSON(nil), nil }

// AppendJSON is as MarshalJSON, and appends to b.
func (d Decision) AppendJSON(b []byte) []byte {
	said := said{}
	if d.said != nil {
		said = *d.said
	}
	e := encoder{b: b}
	text := func(s string) { e.str(strings.ToValidUTF8(s, "\uFFFD")) }
	e.raw(`{"allow":`).bool(d.allow)
	e.raw(`,"reasons":[`)
	for i, r := range said.reasons {
		e.comma(i).raw(`{"code":`)
		text(r.Code)
		e.raw(`,"message":`)
		text(r.Message)
		e.raw(`,"severity":`)
		text(string(r.Severity))
		e.raw(`,"fix":`)
		text(r.Fix)
		e.raw(`}`)
	}
	e.raw(`],"grants":[`)
	for i, id := range said.grants {
		e.comma(i)
		text(id)
	}
	e.raw(`],"obligations":{"max_bytes":`).num(d.obligations.MaxBytes)
	e.raw(`,"min_length":`).num(d.obligations.MinLength)
	e.raw(`,"min_memory":`)
	text(string(d.obligations.MinMemory))
	e.raw(`}}`)
	return e.b
}
