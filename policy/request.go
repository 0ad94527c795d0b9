// Package policy decides who may load which secret. It runs an OPA policy that was compiled to WebAssembly, in wazero,
// inside a sandbox of its own: the guest sees a typed request as JSON, its own data and nothing else, pays for every
// instruction, and whatever it answers that is not a well-formed allow is a denial.
//
// A policy gets names and metadata, never a secret: a verdict cannot leak one. [Default] runs the embedded rules over
// grants; [Open] runs a [Bundle]. This package imports neither OPA nor net/http: policy/rego, for tools, compiles Rego.
package policy

// Action is what the service wants to do with a resource.
type Action string

// The actions that the contract knows. Any other is refused before evaluation.
const (
	LoadSecret Action = "load_secret" // read a token or password
	LoadKey    Action = "load_key"    // read 32 bytes of key material
	DeriveKey  Action = "derive_key"  // read a token only to derive a key from it
)

// Source is the kind of place that a secret comes from.
type Source string

// The sources that the contract knows.
const (
	SourceFile       Source = "file"
	SourceCredential Source = "credential" // systemd.exec(5), LoadCredential=
	SourceEnv        Source = "env"
)

// Phase tells whether a service is loading or a release engineer is checking.
type Phase string

// The two phases.
const (
	PhaseRuntime Phase = "runtime"
	PhaseRollout Phase = "rollout"
)

// FactsState tells where the facts about a file come from.
type FactsState string

// Facts are seen on an open descriptor, worked out for a file that does not exist yet, or not there at all.
// Only a rollout check may ask with FactsUnchecked.
const (
	FactsObserved  FactsState = "observed"
	FactsPredicted FactsState = "predicted"
	FactsUnchecked FactsState = "unchecked"
)

// Memory is the protection that the process can give to secret bytes.
type Memory string

// The rungs of the ladder, best first; the names are those of package secret.
const (
	MemorySecret Memory = "memfd_secret"
	MemoryLocked Memory = "locked"
	MemoryHeap   Memory = "heap"
)

// Request is what a policy judges: who asks for what, and the facts that the host knows about it. It holds names and
// metadata, never a secret. Every field is written into the guest's input, whatever its value: a rule over an absent
// field silently never fires. Strings must be valid UTF-8.
type Request struct {
	Subject  Subject
	Action   Action
	Resource Resource
	Context  Context
}

// Subject is the asking service. Numbers are -1 and strings are empty where there is none.
type Subject struct {
	Service   string
	Container string
	UID       int64
	GID       int64
	Unit      string
	Exe       string
	SPIFFEID  string
	Attested  Attested
}

// Attested says how the host proved a field of the subject; an empty string means that it is only claimed.
type Attested struct {
	UID      string
	GID      string
	Unit     string
	Exe      string
	SPIFFEID string
}

// Resource is the secret that is asked for.
type Resource struct {
	Source   Source
	Path     string   // as asked, lexically clean; empty for a source without one
	Resolved string   // the real path, every symlink followed
	Above    []string // the directories above Resolved, nearest first; "ancestors" in the input
	Links    []string // the real path of each symlink that was followed from Path to Resolved, in order
	Name     string   // credential or variable
	Purpose  string   // derivation label
	Origin   string   // where the runtime file comes from: a host path, "namespace/secret/key"
	Facts    FactsState
	File     File // the file that the service reads

	// OriginFile is the file behind Origin, seen at rollout; its Type is empty where there is none, as it always is at
	// run time. A credential that systemd serves with mode 0400 is no secret if it was copied from a 0644 file.
	OriginFile File
}

// File is what is known about a file. The zero File means that nothing is known and satisfies no rule.
type File struct {
	Type         string // "regular", "directory", "fifo", "socket", "char_device", "block_device", "symlink"; "" unknown
	Mode         uint32 // the twelve permission bits
	UID          int64
	GID          int64
	OwnerIsRoot  bool
	OwnerIsMe    bool // the owner is the subject's uid
	Size         int64
	NLink        int64
	Filesystem   string // "ext4", "tmpfs", …; "unknown" when not in the host's table
	Mount        Mount
	Immutable    bool // chattr(1) +i; false also where the file system has no such attribute
	AppendOnly   bool // chattr(1) +a; likewise
	Symlinks     int  // followed on the way, all components
	FinalSymlink bool // the last component itself was a symlink
	ACL          bool // an extended POSIX ACL is set on the file
	Readers      Principals
	Writers      Principals
}

// Mount holds the options of the mount that a file lies on.
type Mount struct {
	ReadOnly bool
	NoSUID   bool
	NoDev    bool
	NoExec   bool
}

// Principals is an upper bound of who has an access, from mode, owner and ACL. Root is listed only where it is the
// owner: it needs no permission.
type Principals struct {
	UIDs     []int64
	GIDs     []int64
	Everyone bool
}

// Context is the circumstances of a request.
type Context struct {
	Phase       Phase
	Host        string
	Environment string
	Memory      Memory
}
