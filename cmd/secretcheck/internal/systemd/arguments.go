package systemd

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/secretname"
)

// exposedBy finds the secrets in a command's arguments: behind options and in assignments whose names say so, also within
// the script of a shell.
func exposedBy(c command, at locate) []exposure {
	if len(c.arguments) == 0 {
		return nil
	}
	arguments := c.arguments[1:]
	found := namedSecrets(arguments, at)
	if i := script(c.path, arguments); i >= 0 {
		found = append(found, namedSecrets(shellWords(arguments[i]), at)...)
	}
	return found
}

// namedSecrets looks at words as options, their values, and assignments.
func namedSecrets(words []word, at locate) []exposure {
	var found []exposure
	for i, w := range words {
		option := strings.TrimLeft(w.text, "-")
		dashes := len(w.text) - len(option)
		name, value, assigned := strings.Cut(option, "=")
		from := dashes + len(name) + 1
		if inner, rest, ok := strings.Cut(value, "="); dashes > 0 && ok && !secretname.Is(name) && isName(inner) { // --env=NAME=VALUE
			name, value, from = inner, rest, from+len(inner)+1
		}
		switch {
		case !isName(name) || !secretname.Is(name):
		case assigned && secretname.Literal(value):
			found = append(found, exposure{name, w.from(from, at)})
		case !assigned && dashes > 0 && i+1 < len(words) && isValue(words[i+1].text):
			found = append(found, exposure{name, words[i+1].whole(at)})
		}
	}
	return found
}

// isValue reports whether the word behind an option is its value, and a secret.
func isValue(s string) bool { return !strings.HasPrefix(s, "-") && secretname.Literal(s) }

var nameShape = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`) // repetition that is counted takes long to compile

// isName reports whether s can name an option or a variable. Whatever is reported has this shape.
func isName(s string) bool { return len(s) <= 64 && nameShape.MatchString(s) }

// script is the index of the argument that is the script of a shell, -1 where there is none.
func script(executable string, arguments []word) int {
	if !slices.Contains([]string{"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"}, path.Base(executable)) {
		return -1
	}
	for i, w := range arguments {
		if len(w.text) > 1 && w.text[0] == '-' && w.text[1] != '-' && strings.Contains(w.text, "c") && i+1 < len(arguments) {
			return i + 1
		}
	}
	return -1
}

// shellWords splits a script where a shell would see words, near enough to find names: quotes go, whatever separates
// commands separates words.
func shellWords(w word) []word {
	var words []word
	var out []byte
	var from []int
	quote, reference := byte(0), false
	end := func(i int) {
		if from != nil {
			words = append(words, word{string(out), append(from, w.at[i])})
		}
		out, from, reference = nil, nil, false
	}
	for i := range len(w.text) {
		b := w.text[i]
		switch {
		case quote != 0 && b == quote:
			quote = 0
		case quote == 0 && (b == '\'' || b == '"'):
			quote = b
		case quote == 0 && (b == '{' || b == '(') && len(out) > 0 && out[len(out)-1] == '$', reference && (b == '}' || b == ')'):
			reference = b == '{' || b == '('
			out, from = append(out, b), append(from, w.at[i])
		case quote == 0 && (isSpace(b) || strings.IndexByte(";|&(){}<>", b) >= 0):
			end(i)
		default:
			out, from = append(out, b), append(from, w.at[i])
		}
	}
	end(len(w.text))
	return words
}
