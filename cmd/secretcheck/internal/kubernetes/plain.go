package kubernetes

import (
	"strings"
	"unicode"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// secretName reports whether a variable, an annotation or a key of a ConfigMap is called as if a secret were in it. The
// last word tells: a password is one, a password's file, user or expiry is none.
func secretName(name string) bool {
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

// couldBeSecret reports whether a text can be the secret that its name promises: no switch, number, path or reference.
func couldBeSecret(v *value) bool {
	s := v.string()
	switch strings.ToLower(s) {
	case "", "true", "false", "yes", "no", "on", "off", "none", "null":
		return false
	}
	return !strings.HasPrefix(s, "/") && !strings.Contains(s, "$(") && !strings.Contains(s, "${") && strings.Trim(s, "0123456789") != ""
}

// inURL reports whether a text has an address with a password in it.
func inURL(s string) bool {
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

// texts looks for secrets in the texts of an object, besides variables and annotations: passwords in addresses wherever they
// are, and what is called a secret among arguments, headers and options. Name is that of the field.
func (f *manifest) texts(v *value, name, service string) {
	if v.kind == text && inURL(v.text) {
		f.tell(descriptor.RulePlainText, v, service, "an address has a password in it, which everybody who sees the object can read",
			"put it into a Secret and mount that as a file")
	}
	switch name {
	case "command", "args":
		f.arguments(v, service)
	case "httpHeaders":
		for _, h := range v.items {
			if header := h.get("name").string(); strings.EqualFold(header, "authorization") && !h.get("value").empty() {
				f.plain(h.get("value"), service, "a header")
			} else {
				f.plainText(header, h.get("value"), service, "a header")
			}
		}
	case "labels", "options", "volumeAttributes", "userAnnotations":
		for _, o := range v.fields {
			f.plainText(o.name, o.value, service, "a field")
		}
	}
	for _, i := range v.items {
		f.texts(i, "", service)
	}
	for _, child := range v.fields {
		f.texts(child.value, child.name, service)
	}
}

// arguments looks at --password=VALUE, and --password followed by its value.
func (f *manifest) arguments(v *value, service string) {
	for i, a := range v.items {
		name, own, with := strings.Cut(a.string(), "=")
		if !strings.HasPrefix(name, "-") || !secretName(name) {
			continue
		}
		switch {
		case with && couldBeSecret(&value{kind: text, text: own}):
			f.plain(a, service, "an argument")
		case !with && i+1 < len(v.items) && !strings.HasPrefix(v.items[i+1].string(), "-") && couldBeSecret(v.items[i+1]):
			f.plain(v.items[i+1], service, "an argument")
		}
	}
}
