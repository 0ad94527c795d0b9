// Package secretname tells by its name whether a variable or an option carries a secret. A name is a guess where only
// the value would settle it, so the rules are few and told in the manual: the last word of the name says what it is.
package secretname

import (
	"slices"
	"strings"
	"unicode"
)

// Is reports whether a name such as API_TOKEN, db-password or clientSecret says that a secret is behind it. TOKEN_FILE,
// TOKEN_TTL and MAX_TOKENS do not: the last word is another, or a count.
func Is(name string) bool {
	w := words(name)
	for len(w) > 0 && strings.Trim(w[len(w)-1], "0123456789") == "" { // DB_PASSWORD_2
		w = w[:len(w)-1]
	}
	if len(w) == 0 || asks(w[0]) || len(w) == 1 && w[0] == "pwd" {
		return false
	}
	last := strings.TrimRight(w[len(w)-1], "0123456789") // TOKEN2
	before := ""
	if len(w) > 1 {
		before = w[len(w)-2]
	}
	if last == "tokens" && counts(before) {
		return false
	}
	if last == "key" || last == "keys" {
		return isKeyKind(before)
	}
	return isSecretWord(last)
}

// Same reports whether two names mean one secret: api_token, API_TOKEN and api-token do.
func Same(a, b string) bool { return slices.Equal(words(a), words(b)) }

// isSecretWord reports whether a name that ends with the word is one of a secret.
func isSecretWord(word string) bool {
	switch word {
	case "password", "passwords", "passwd", "pwd", "pass", "passphrase", "passcode", "secret", "secrets", "token", "tokens",
		"credential", "credentials", "apikey", "apitoken", "authtoken", "accesstoken", "secretkey", "privatekey", "psk", "bearer":
		return true
	}
	return false
}

// isKeyKind reports whether keys of a kind are secret. A key of another may be public, a path, or the name of something.
func isKeyKind(word string) bool {
	switch word {
	case "api", "access", "secret", "private", "encryption", "signing", "master", "auth", "session", "hmac", "shared", "account",
		"deploy", "ssh", "jwt", "app", "client":
		return true
	}
	return false
}

// asks reports whether a first word makes a name one that is about whether and how, and holds no secret.
func asks(word string) bool {
	switch word {
	case "no", "without", "require", "disable", "enable", "allow", "skip", "ask", "prompt", "use":
		return true
	}
	return false
}

// counts reports whether a word makes a number of tokens.
func counts(word string) bool {
	switch word {
	case "max", "min", "num", "n", "total", "new":
		return true
	}
	return false
}

// words takes a name apart, in small letters: at everything that is no letter or digit, and before a capital.
func words(name string) []string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte(' ')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Fields(b.String())
}

// Literal reports whether a value behind such a name is the secret itself. An empty one is none, nor is a yes or no, the
// place of a file, or what is filled in elsewhere.
func Literal(value string) bool {
	switch strings.ToLower(value) {
	case "", "-", "yes", "no", "true", "false", "on", "off", "null", "none":
		return false
	}
	return !place(value) && !filledIn(value)
}

// place reports whether a value is a path of a file, as configurations write it.
func place(value string) bool {
	value = strings.TrimPrefix(value, "@")
	for _, scheme := range []string{"file:", "env:", "fd:", "%d/"} {
		if strings.HasPrefix(value, scheme) {
			return true
		}
	}
	for _, dir := range []string{"/etc/", "/run/", "/var/", "/usr/", "/home/", "/root/", "/srv/", "/opt/", "/dev/", "/proc/", "./", "../", "~/"} {
		if strings.HasPrefix(value, dir) {
			return true
		}
	}
	return false
}

// filledIn reports whether a value refers to a variable or to the output of a command. Two dollar signs are one that is
// written.
func filledIn(value string) bool {
	for i := 0; i+1 < len(value); i++ {
		if value[i] == '`' {
			return true
		}
		if value[i] != '$' {
			continue
		}
		next := value[i+1]
		if next == '$' {
			i++
			continue
		}
		if next == '{' || next == '(' || next == '_' || unicode.IsLetter(rune(next)) || unicode.IsDigit(rune(next)) {
			return true
		}
	}
	return false
}
