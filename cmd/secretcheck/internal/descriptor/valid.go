package descriptor

import "github.com/llorch/secrets-management/policy"

// ValidService reports whether s can name a service: 1 to 255 visible ASCII characters.
func ValidService(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 127 {
			return false
		}
	}
	return true
}

// ValidAction reports whether a is an action of the contract.
func ValidAction(a policy.Action) bool {
	return a == policy.LoadSecret || a == policy.LoadKey || a == policy.DeriveKey
}
