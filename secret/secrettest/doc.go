// Package secrettest helps to test code that holds secrets: that a type cannot leak the secret in it ([Check]), and that
// files and credentials are loaded, or refused, as they should be ([File], [Credentials]). It is for tests only.
//
//	type Config struct {
//		Name  string
//		Token *secret.Secret
//	}
//
//	func TestConfigKeepsItsToken(t *testing.T) {
//		token := secrettest.Canary(t)
//		secrettest.Check(t, &Config{Name: "n", Token: token}, token)
//	}
package secrettest
