package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// Verdicts that a caller may branch on, with errors.Is. Whatever the policy refused matches ErrDenied, besides the more
// particular ErrPermissionsTooOpen, ErrPath or ErrInvalidFormat where the reason is one of those.
var (
	ErrDenied             = errors.New("denied by policy")
	ErrPolicyUnavailable  = errors.New("policy unavailable")    // it could not decide, which denies
	ErrAudit              = errors.New("audit log unavailable") // what cannot be recorded is not done
	ErrNotFound           = errors.New("not found")
	ErrCredentialNotFound = errors.New("credential not found")
	ErrPermissionsTooOpen = errors.New("permissions too open")
	ErrPath               = errors.New("path validation failed")
	ErrInvalidFormat      = errors.New("invalid format")
	ErrChanged            = errors.New("changed while it was loaded") // a load may be tried again
)

// Stage is the step of a load that failed.
type Stage string

// The stages, in order.
const (
	StageReference Stage = "reference" // the reference itself is malformed
	StageAsk       Stage = "ask"       // the service may not ask for it; nothing was looked at
	StageLook      Stage = "look"      // walking to the file, or taking its facts
	StageDecide    Stage = "decide"
	StageAudit     Stage = "audit"
	StageRead      Stage = "read"
	StageDerive    Stage = "derive"
)

// Error is the error of every function of this package. It names the reference and never holds secret bytes.
type Error struct {
	Stage   Stage
	Service string // who asked
	Ref     Ref
	Err     error    // matches one of the sentinels above, or is the system's I/O error
	Reasons []string // the policy's reason codes; documented in .specs/30_policy.md
	Mode    uint32   // permission bits of the file, where they are what is wrong

	request  *policy.Request // what was refused
	unproven string          // what the process cannot prove of itself, where that is what is wrong
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "load %s: ", e.Ref)
	if e.refused() {
		b.WriteString("denied by policy: ")
		if !errors.Is(e.Err, ErrDenied) {
			fmt.Fprintf(&b, "%v: ", e.Err)
		}
		for i, code := range e.Reasons {
			if i > 0 {
				b.WriteString("; ")
			}
			b.WriteString(e.explain(code))
		}
		return b.String()
	}
	fmt.Fprintf(&b, "%v", e.Err)
	return b.String()
}

// Unwrap gives what errors.Is looks through.
func (e *Error) Unwrap() []error {
	if e.refused() {
		return append(kindsOf(e.Reasons), e.Err, ErrDenied)
	}
	return []error{e.Err}
}

func (e *Error) refused() bool { return len(e.Reasons) > 0 }

// explain gives the text of a reason code. The policy's own words go to the audit log and to secretcheck only.
func (e *Error) explain(code string) string {
	text, ok := reasonTexts[code]
	fact := e.fact(code)
	switch {
	case code == noGrant:
		return fmt.Sprintf("service %q has no grant for it%s; ask the security team for one, or correct service, reference or action [%s]",
			e.Service, fact, code)
	case code == "mode_too_open":
		text = fmt.Sprintf("mode %04o, expected 0600", e.Mode)
	case !ok:
		return code
	}
	return text + fact + " [" + code + "]"
}

// fact gives what decided, in brackets: SVC-1007.
func (e *Error) fact(code string) string {
	var fact string
	switch r := e.request; {
	case r == nil:
	case code == noGrant:
		fact = "action " + string(r.Action)
		if r.Resource.Purpose != "" {
			fact += fmt.Sprintf(", purpose %q", r.Resource.Purpose)
		}
	case code == notProven:
		fact = e.unproven
	case code == "foreign_owner":
		fact = fmt.Sprintf("owner uid %d, service uid %d", r.Resource.File.UID, r.Subject.UID)
	case code == "readable_by_others":
		fact = strangers(r.Resource.File.Readers, r.Subject.UID)
	case code == "writable_by_others":
		fact = strangers(r.Resource.File.Writers, r.Subject.UID)
	case code == "too_large":
		fact = fmt.Sprintf("%d bytes", r.Resource.File.Size)
	}
	if fact == "" {
		return ""
	}
	return " (" + fact + ")"
}

// maxStrangers keeps an error short: an ACL can name thousands.
const maxStrangers = 5

// strangers lists who has an access besides root and the service.
func strangers(p policy.Principals, self int64) string {
	var who []string
	for _, uid := range p.UIDs {
		if uid != 0 && uid != self {
			who = append(who, fmt.Sprintf("uid %d", uid))
		}
	}
	for _, gid := range p.GIDs {
		who = append(who, fmt.Sprintf("gid %d", gid))
	}
	if p.Everyone {
		who = append([]string{"everyone"}, who...)
	}
	if len(who) > maxStrangers {
		who = append(who[:maxStrangers], "…")
	}
	return strings.Join(who, ", ")
}

// reasonTexts explains the reason codes of the default rules to whoever runs the service.
var reasonTexts = map[string]string{ //nolint:gochecknoglobals // a constant table
	"outside_grant":          "its real path is outside the grant",
	"not_regular":            "not a regular file",
	"hard_linked":            "the file has more than one hard link",
	"foreign_owner":          "the file belongs neither to root nor to this service",
	"extended_acl":           "the file has an extended ACL; remove it with setfacl -b",
	"readable_by_others":     "others than root and this service can read it",
	"writable_by_others":     "others than root and this service can change or replace it: it, or a directory on its path, is writable to them",
	"too_large":              "the file is too large",
	"symlink_not_granted":    "the path is a symbolic link, and the grant does not allow one",
	"filesystem_not_trusted": "the file system's permissions are not authoritative",
	"weak_memory":            "the process cannot protect memory as the grant demands; raise LimitMEMLOCK",
	"environment_source":     "the environment shows in process listings",
	notProven:                "the grant requires a uid or unit that this process is not, or cannot prove",
	"invalid_request":        "the service and its policy do not fit each other; build both from matching versions",
}

// kinds maps reason codes to the sentinels that callers know from before there were policies, the first to be named
// first.
var kinds = []struct { //nolint:gochecknoglobals // a constant table
	err   error
	codes []string
}{
	{ErrPath, []string{"outside_grant", "symlink_not_granted", "not_regular"}},
	{ErrPermissionsTooOpen, []string{"mode_too_open", "readable_by_others", "writable_by_others", "extended_acl"}},
	{ErrInvalidFormat, []string{"too_large"}},
}

// kindsOf lists the sentinels that stand for any of the codes.
func kindsOf(codes []string) []error {
	var errs []error
	for _, k := range kinds {
		if slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(k.codes, c) }) {
			errs = append(errs, k.err)
		}
	}
	return errs
}

// absentError is what an ordered fallback returns when no source has anything.
type absentError []error

func (a absentError) Error() string {
	texts := make([]string, len(a))
	for i, err := range a {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (a absentError) Unwrap() []error { return a }
