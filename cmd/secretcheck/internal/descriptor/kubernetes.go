package descriptor

import "github.com/llorch/secrets-management/policy"

// Runtime is the file that a platform will make of a load, as the service will find it.
type Runtime struct {
	Resolved string   // the real path, every link followed
	Above    []string // the directories above it, nearest first
	Links    []string // the links on the way, in order
	File     policy.File
	Barred   string // the file, where the account of the service surely may not read it
	Fix      string // what lets the account read it; empty for what Kubernetes has
}

// The rules of findings about Kubernetes manifests.
const (
	RuleUnknownField = "unknown_field"           // the API server drops it, and a secret with it
	RuleDropped      = "ignored_by_kubernetes"   // a line that changes nothing for any container
	RuleKeys         = "keys_unknown"            // every key of the secret, whatever they are called
	RuleExpression   = "expression_not_resolved" // a path that only the node knows
	RuleDriver       = "driver_not_resolved"     // what a CSI driver mounts is known to it only
	RulePlatform     = "platform_not_known"      // files are made otherwise there
	RulePlainText    = "secret_in_plain_text"    // what is called a secret, where everybody can read it
	RuleManifest     = "secret_in_manifest"      // the values of a Secret stand in the file
	RuleOptional     = "optional_secret"         // the service starts without it
	RuleToken        = "service_account_token"   // the token of the service account, which nobody asked for
	RuleSubPath      = "subpath_not_updated"     // the file is lost once the secret changes
	RuleDecimalMode  = "mode_in_decimal"         // a mode that was meant to be octal
)
