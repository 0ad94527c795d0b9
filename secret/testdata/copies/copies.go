// Package copies does what go vet must flag. TestVetFlagsCopies counts the lines that are marked so.
package copies

import "github.com/llorch/secrets-management/secret"

type config struct {
	token secret.Secret
	key   secret.Key
}

func byValue(s secret.Secret) { // flagged
	_ = s.Close()
}

func assigned(s *secret.Secret, k *secret.Key) {
	a := *s // flagged
	b := *k // flagged
	_, _ = a.Close(), b.Close()
}

func ranged(all []config) {
	for _, c := range all { // flagged
		_ = c.key.Close()
	}
}

// fine is how it should be: nothing is flagged.
func fine(s *secret.Secret, all []*config) *secret.Secret {
	for _, c := range all {
		_ = c.token.Close()
	}
	return s
}
