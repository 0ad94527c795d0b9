// Package check judges the loads of descriptors by a policy and the facts of a host, and gathers the verdicts.
package check

import (
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Verdict is what becomes of a load.
type Verdict string

// The verdicts. A load has exactly one.
const (
	Allowed   Verdict = "allowed"
	Denied    Verdict = "denied"
	Undecided Verdict = "undecided" // what was seen does not suffice to judge it
)

// Result is a finished check. Its JSON form is the report, an interface.
type Result struct {
	Loads    []Load    `json:"loads"`
	Findings []Finding `json:"findings"`
	Summary  Summary   `json:"summary"`

	// EngineFailed says that the policy engine could not judge a load; BadInput, that a descriptor could not be read.
	EngineFailed bool `json:"-"`
	BadInput     bool `json:"-"`

	Version string `json:"-"` // of this program

	Silent []string `json:"-"` // descriptors that load nothing
	Rooted bool     `json:"-"` // the host was looked at
}

// Load is one load and its verdict.
type Load struct {
	Service string            `json:"service"`
	Action  policy.Action     `json:"action"`
	Source  policy.Source     `json:"source"`
	Name    string            `json:"name"`
	Path    string            `json:"path"`
	Origin  string            `json:"origin"`
	Verdict Verdict           `json:"verdict"`
	Facts   policy.FactsState `json:"facts"`
	Reasons []Reason          `json:"reasons"`
	Grants  []string          `json:"grants"`
	File    string            `json:"file"`
	Line    int               `json:"line"`
	Column  int               `json:"column"`

	EndLine   int `json:"end_line"`
	EndColumn int `json:"end_column"`

	Snippet    string `json:"snippet"`    // the line, with values masked; empty where it could not be shown so
	Suppressed bool   `json:"suppressed"` // it is not allowed, and every reason is accepted

	// Input is what the policy was asked, for policy explain. It is there for a load with reasons, unless a name in it
	// is not UTF-8, and with Config.KeepInputs for every load that was put to the policy.
	Input *policy.Request `json:"input,omitempty"`

	Obligations policy.Obligations `json:"-"`
}

// Reason is one thing that the policy, or the check itself, has to say about a load. Message and Fix can come from a
// policy: they are bounded here and escaped where they are printed.
type Reason struct {
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	Severity policy.Severity `json:"severity"`
	Fix      string          `json:"fix"`

	Fingerprint string `json:"fingerprint"` // of the finding that it is; empty where that is about the service

	told bool // as a finding, with the place of the setting that is the reason
}

// Finding is something that somebody should look at, with the place.
type Finding struct {
	Rule        string          `json:"rule"`
	Severity    policy.Severity `json:"severity"`
	Message     string          `json:"message"`
	Fix         string          `json:"fix"`
	File        string          `json:"file"`
	Line        int             `json:"line"`
	Column      int             `json:"column"`
	EndLine     int             `json:"end_line"`
	EndColumn   int             `json:"end_column"`
	Service     string          `json:"service"`
	Fingerprint string          `json:"fingerprint"`

	Snippet    string       `json:"snippet"`    // as of a load
	Suppressed *Suppression `json:"suppressed"` // null where it counts
}

// Summary counts. Loads is always Allowed + Denied + Undecided.
type Summary struct {
	Descriptors int `json:"descriptors"`
	Loads       int `json:"loads"`
	Allowed     int `json:"allowed"`
	Denied      int `json:"denied"`
	Undecided   int `json:"undecided"`
	Warnings    int `json:"warnings"`   // findings of severity warning that count
	Suppressed  int `json:"suppressed"` // findings that do not
}

// The rules of findings that the check itself makes, beside those of descriptors and the codes of the policy.
const (
	RuleMissingSource   = "missing_source"      // the origin is not there: the service would not start
	RuleTooShort        = "too_short"           // the file cannot hold what the load needs
	RuleNotReadable     = "source_not_readable" // the service's account may not read the file
	RuleUnwalkable      = "source_not_reached"  // a symlink loop or the like on the way to the origin
	RuleUnseen          = "source_not_seen"     // this user may not look at the origin
	RuleDirectorySource = "directory_source"    // systemd would make a credential of every file in it
	RuleTooLarge        = "over_systemd_limit"  // systemd has a limit for one credential, and for all of a service
	RuleBadSource       = "source_not_usable"   // systemd fails on it, and the service does not start
	RuleSocketSource    = "socket_source"       // the secret comes from whoever listens
	RuleUnchecked       = "facts_unchecked"     // the host was not looked at, but --require-facts asks for it
	RuleUnknownUser     = "unknown_user"        // User= names an account that the root does not have
	RuleInline          = descriptor.RuleInline
	RuleWaiverExpired   = "waiver_expired" // a waiver whose time is over, and what it was for is still there
	RuleWaiverUnused    = "waiver_unused"  // a waiver for nothing
	RuleEngine          = "engine_error"   // the policy engine failed on this load
)
