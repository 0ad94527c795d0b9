package policy

import "encoding/json"

// Decision is the verdict of a policy. The zero Decision denies, and only an [Engine] can make one that allows.
type Decision struct {
	allow       bool
	Reasons     []Reason
	Obligations Obligations
	Grants      []string // ids of the grants that matched, in the policy's order

	by *Info
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

// Codes lists the codes of the reasons, in order.
func (d Decision) Codes() []string {
	codes := make([]string, len(d.Reasons))
	for i, r := range d.Reasons {
		codes[i] = r.Code
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
func (d Decision) MarshalJSON() ([]byte, error) {
	reasons := make([]map[string]string, len(d.Reasons))
	for i, r := range d.Reasons {
		reasons[i] = map[string]string{"code": r.Code, "message": r.Message, "severity": string(r.Severity), "fix": r.Fix}
	}
	return json.Marshal(map[string]any{
		"allow": d.allow, "reasons": reasons, "grants": append([]string{}, d.Grants...),
		"obligations": map[string]any{
			"max_bytes": d.Obligations.MaxBytes, "min_length": d.Obligations.MinLength,
			"min_memory": d.Obligations.MinMemory,
		},
	})
}
