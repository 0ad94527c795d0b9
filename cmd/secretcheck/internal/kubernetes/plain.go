package kubernetes

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// secretName reports whether a variable, an annotation or a key of a ConfigMap is called as if a secret were in it. The
// last word tells: a password is one, a password's file, user or expiry is none.
func secretName(name string) bool {
	words := nameWords(name)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	if slices.Contains(secretWords, last) {
		return true
	}
	if len(words) < 2 || last != "key" {
		return false
	}
	return slices.Contains(keyWords, words[len(words)-2])
}

var (
	secretWords = []string{
		"password", "passwd", "passphrase", "pwd", "pass", "secret", "token", "apikey", "secretkey", "privatekey",
		"accesskey", "credential", "credentials", "dbpassword", "authtoken", "cookie",
	}
	keyWords = []string{"api", "access", "secret", "private", "encryption", "signing", "master", "auth", "seal", "hmac", "license", "admin"}
)

// nameWords takes a name apart, at what is no letter or digit and at the humps of camelCase.
func nameWords(name string) []string {
	var words []string
	var current []rune
	end := func() {
		if len(current) > 0 {
			words = append(words, strings.ToLower(string(current)))
			current = current[:0]
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
			continue
		case unicode.IsUpper(r) && i > 0 && unicode.IsLower(runes[i-1]):
			end()
		}
		current = append(current, r)
	}
	end()
	return words
}

// couldBeSecret reports whether a text can be the secret that its name promises: no switch, number, path or reference.
func couldBeSecret(v *value) bool {
	s := v.string()
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "none", "null":
		return false
	}
	return !strings.HasPrefix(s, "/") && !strings.Contains(s, "$(") && !strings.Contains(s, "${") && strings.Trim(s, "0123456789") != ""
}

// inURL is a password in an address.
var inURL = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@?#]*:[^\s/@$<{]+@`)
