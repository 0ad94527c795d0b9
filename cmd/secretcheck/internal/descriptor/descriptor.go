// Package descriptor is what every format of deployment descriptor is reduced to: loads, and findings about the
// descriptor itself. It holds names, paths and positions, never a value: a reader drops a literal secret where it
// meets it, so that nothing downstream can print one.
package descriptor

import "github.com/llorch/secrets-management/policy"

// Position is a place in a descriptor. Line and Column count from 1, Column in characters. EndLine and EndColumn are
// where the next character would stand; both are 0 where only the beginning is known.
type Position struct {
	File      string
	Line      int
	Column    int
	EndLine   int
	EndColumn int
}

// Ended is the position with an end: its beginning, where no other is known.
func (p Position) Ended() Position {
	if p.EndLine == 0 {
		p.EndLine, p.EndColumn = p.Line, p.Column
	}
	return p
}

// OriginInline is the origin of a credential whose value stands in the descriptor itself.
const OriginInline = "inline"

// Load is one secret source that a descriptor makes available to one service by a line in force.
type Load struct {
	Service string
	Unit    string        // the systemd unit; empty in other descriptors
	Action  policy.Action // empty where the descriptor leaves it open
	Purpose string        // derivation label, for DeriveKey
	Source  policy.Source
	Name    string // credential or variable
	Path    string // the file that the service opens
	Origin  string // host path that the runtime file is copied from, OriginInline, or empty where unknown

	User      string // account whose uid is still to be looked up; empty when UID says it all
	UID       int64  // -1 where it cannot be known
	UIDOpen   bool   // the service will not be able to prove its uid, or the descriptor does not tell
	UnitOpen  bool   // the same of its unit
	Dynamic   bool   // systemd makes the account when there is none of that name
	Encrypted bool   // the value at the origin is ciphertext
	Default   bool   // a literal stands in when the origin is missing, so that this is no fault
	Directory bool   // the origin was written with a slash at its end: no file can be opened by it

	Container string   // of a pod
	GID       *int64   // of the process, where it is known
	Runtime   *Runtime // the file at run time, where the descriptor tells all about it
	Groups    []int64  // all that the process is in, nil where they are not known
	Bind      bool     // the file at run time is the host's own, mounted at Path
	HostPath  string   // where that is on the host, empty where the descriptor does not tell
	Also      []Load   // the same source as other containers see it; the load is as bad as the worst of them

	Doubt *Doubt
	Position

	Snippet string // its line, with values masked

	// Breaks are what keeps the load from succeeding, whatever the policy says. Each is told as a finding of its own.
	Breaks []Break

	// Environment is that of the service, where the descriptor tells of one.
	Environment *Environment

	Descriptor int     // loads of one descriptor share the number
	Lookup     *Lookup // what systemd looks for in its credential stores
	Size       int64   // of a literal, in bytes; -1 where it is ciphertext
	Fault      *Doubt  // why the service will not get it, whatever the policy says

	Fallbacks []Load            // what systemd gives under the same name when there is nothing at the origin, best first
	Choices   map[string]Choice // what the descriptor says about actions, by the name of the credential
}

// Break is a setting that keeps loads from succeeding.
type Break struct {
	Rule    string
	Message string
	Fix     string
}

// Environment is that of one service. Its files are read where the host is looked at; what they set comes before what
// stands in the descriptor.
type Environment struct {
	Load  Load            // what every load of the environment has in common
	Unset map[string]bool // variables that are taken out again
	Names []string        // of credentials, for secrets that are there twice
}

// EnvironmentFile is a file with variables, or a pattern of such files.
type EnvironmentFile struct {
	Path        string
	Optional    bool
	Environment *Environment
}

// Choice is what a descriptor says that a service does with a credential.
type Choice struct {
	Action  policy.Action
	Purpose string
	Position
}

// Choose sets the action that the descriptor has for the name.
func (l *Load) Choose() {
	if c, ok := l.Choices[l.Name]; ok {
		l.Action, l.Purpose = c.Action, c.Purpose
	}
}

// InlineMessage says what is wrong with a literal.
const InlineMessage = "the value stands in the unit, which every user of the host can read"

// Lookup is a credential, or a pattern for some, that systemd looks for in its stores when the service starts.
type Lookup struct {
	Name   string // with an asterisk at its end when it is a pattern
	Import bool   // ImportCredential=, and not LoadCredential= with a name as its source
	Order  int    // among the imports of a unit
	Rename string // what stands for Name in the names that the service sees; "" leaves them
}

// Doubt is why a load cannot be judged from its descriptor. A doubt never hides a denial: it only keeps an allowed
// load from being called allowed.
type Doubt struct {
	Rule    string
	Message string
	Fix     string

	// Identity says that even the secret's name is unknown, so that asking the policy would be a guess.
	Identity bool
}

// Finding is something to tell about a descriptor, with the place.
type Finding struct {
	Snippet  string // its line, with values masked; empty where it may hold what was never meant to stand there
	Rule     string
	Severity policy.Severity
	Message  string
	Fix      string
	Position
	Service string
	Source  policy.Source
	Name    string
	Path    string

	// Unread is the environment file that the finding is about, which whoever sees the host replaces by what is in it.
	Unread *EnvironmentFile
	// Unless is a load for which a grant makes the finding void; nil where nothing does.
	Unless *Load
}

// The rules of findings about descriptors. They are an interface: waivers and dashboards name them.
const (
	RuleUnreadable    = "unreadable"             // a descriptor cannot be read; bad input
	RuleUnparsable    = "unparsable"             // a descriptor cannot be parsed; bad input
	RuleIgnored       = "ignored_by_systemd"     // a line that systemd drops with a log message
	RuleSpecifier     = "specifier_not_resolved" // a %x that the descriptor alone cannot resolve
	RuleImport        = "import_not_resolved"    // ImportCredential=: what it matches is known on the host only
	RuleOrigin        = "origin_unknown"         // systemd looks the source up in the credential store
	RuleInline        = "inline_credential"      // a value in the unit, which everybody on the host may read
	RuleNotJudged     = "not_judged"             // a file in a searched directory that is about credentials, of no service there
	RuleUnusedSetting = "unused_setting"         // an X-Secretcheck setting about a credential that is not there
	RuleNoDescriptor  = "not_a_descriptor"       // a file in a searched directory that is no descriptor of ours
	RuleMasked        = "masked"                 // a unit linked to the null device

	RuleRefused         = "refused_by_systemd"         // a line for which systemd does not load the unit at all
	RuleEnvironment     = "secret_in_environment"      // a literal in Environment=
	RuleEnvironmentFile = "secret_in_environment_file" // a literal in a file that EnvironmentFile= names
	RulePassed          = "secret_passed_on"           // a variable that PassEnvironment= takes from the manager
	RuleArgument        = "secret_in_argument"         // a literal in a command line
	RuleTwice           = "secret_twice"               // by credential and by environment
	RuleUnread          = "environment_file_unread"    // nobody has looked into the file
	RuleBreaks          = "load_breaks"                // a setting with which no load can succeed
	RuleHeap            = "heap_memory"                // a setting that takes secrets their locked memory
	RuleInterpreted     = "policy_interpreted"         // a setting that makes decisions slow
	RuleNotStarted      = "not_started"                // systemd fails on what is written, and does not start the service
	RuleUserUnit        = "user_unit"                  // a user's manager loads it, with that user's rights
)

// Bad reports whether the finding means that input could not be judged at all.
func (f Finding) Bad() bool { return f.Rule == RuleUnreadable || f.Rule == RuleUnparsable }
