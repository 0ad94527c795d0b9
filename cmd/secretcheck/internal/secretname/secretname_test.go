package secretname

import "testing"

// Evidence for CHK-1072.
func TestCHK1072Names(t *testing.T) {
	for _, name := range []string{
		"PASSWORD", "DB_PASSWORD", "db-password", "dbPassword", "DB_PWD", "MYSQL_PASS", "API_TOKEN", "token", "TOKEN2", "TOKEN_2",
		"client-secret", "AWS_SECRET_ACCESS_KEY", "api-key", "apiKey", "API_KEYS", "SESSION_KEY", "PASSPHRASE", "credentials", "tokens", "psk",
		"JWT_SIGNING_KEY", "NEW_PASSWORD",
	} {
		if !Is(name) {
			t.Errorf("%s is no secret", name)
		}
	}
	for _, name := range []string{
		"", "_", "1", "PATH", "PWD", "OLDPWD", "TOKEN_FILE", "TOKEN_TTL", "PASSWORD_MIN_LENGTH", "KEY", "PUBLIC_KEY", "AWS_ACCESS_KEY_ID", "KEY_FILE",
		"MAX_TOKENS", "max-tokens", "REQUIRE_PASSWORD", "no-password", "USE_TOKEN", "SECRET_NAME", "BYPASS", "COMPASS", "monkey", "api", "passport",
	} {
		if Is(name) {
			t.Errorf("%s is a secret", name)
		}
	}
}

// Evidence for CHK-1072.
func TestCHK1072Values(t *testing.T) {
	for _, value := range []string{"fake", "0", "fake$", "a$$b", "a b", "/fake", "//x", "a/etc/b", "=", "x%", "fake:file:", "$ 5"} {
		if !Literal(value) {
			t.Errorf("%q is no literal", value)
		}
	}
	for _, value := range []string{
		"", "-", "yes", "False", "$A", "${A}", "a${A}b", "$(cat x)", "`cat x`", "/etc/x", "@/etc/x", "/run/x", "file:x", "env:X", "%d/x", "./x", "~/x", "x$$$A",
	} {
		if Literal(value) {
			t.Errorf("%q is a literal", value)
		}
	}
}

// Evidence for CHK-1071.
func TestCHK1071Same(t *testing.T) {
	if !Same("api_token", "API_TOKEN") || !Same("api-token", "apiToken") || Same("api_token", "token") || Same("api_token", "api_token_2") {
		t.Error("names are compared wrongly")
	}
}
