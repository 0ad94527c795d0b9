// Package plaintext knows a secret that stands where everybody can read it: by what it is called, and by the form of an
// address. It never keeps a value.
package plaintext

import (
	"strings"
	"unicode"
)

// Name reports whether a variable, an annotation or a key of a ConfigMap is called as if a secret were in it. The
// last word tells: a password is one, a password's file, user or expiry is none.
func Name(name string) bool {
	words := nameWords(name)
	if len(words) == 0 {
		return false
	}
	last := words[len(words)-1]
	switch last {
	case "password", "passwd", "passphrase", "pwd", "pass", "secret", "token", "apikey", "secretkey", "privatekey",
		"accesskey", "credential", "credentials", "dbpassword", "authtoken", "cookie":
		return true
	case "key":
		return len(words) > 1 && secretKey(words[len(words)-2])
	}
	return false
}

// secretKey reports whether a key of that kind is secret. A public one is not, nor one of a table.
func secretKey(of string) bool {
	switch of {
	case "api", "access", "secret", "private", "encryption", "signing", "master", "auth", "seal", "hmac", "license", "admin":
		return true
	}
	return false
}

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

// Value reports whether a text can be the secret that its name promises: no switch, number, path or reference.
func Value(s string) bool {
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "none", "null":
		return false
	}
	return !strings.HasPrefix(s, "/") && !strings.Contains(s, "$(") && !strings.Contains(s, "${") && strings.Trim(s, "0123456789") != ""
}

// Address reports whether a text has an address with a password in it.
func Address(s string) bool {
	for {
		before, rest, ok := strings.Cut(s, "://")
		if !ok {
			return false
		}
		s = rest
		scheme := before != "" && strings.IndexByte(" \t\r\n/:@", before[len(before)-1]) < 0
		user := strings.IndexAny(rest, " \t\r\n/:@?#")
		if !scheme || user < 0 || rest[user] != ':' {
			continue
		}
		password := rest[user+1:]
		if end := strings.IndexAny(password, " \t\r\n/@$<{"); end > 0 && password[end] == '@' {
			return true
		}
	}
}
