package systemd

import (
	"path"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// isExec reports whether a key is one of those with command lines.
func isExec(key string) bool {
	return slices.Contains([]string{
		"ExecCondition", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost",
	}, key)
}

// exposure is a secret that stands in a command line.
type exposure struct {
	what string
	at   descriptor.Position
}

// command is one command of a line. The arguments begin with that of number zero.
type command struct {
	path      string
	arguments []word
	ignore    bool // a failure of it
}

// readExec takes a line with commands apart and keeps what in them is a secret.
func readExec(unit name, value string, at locate) (found []exposure, faults []fault) {
	commands, faults := splitCommands(unit, value, at)
	for _, c := range commands {
		found = append(found, exposedBy(c, at)...)
		found = found[:min(len(found), maxTold)]
	}
	return found, faults
}

// splitCommands is systemd's config_parse_exec. The first fault ends it: what follows it on the line is lost, and unless
// failures are ignored the unit with it.
func splitCommands(unit name, value string, at locate) (commands []command, faults []fault) {
	c := cutter{text: value}
	for !c.done() {
		first, ok := execWord(&c)
		if !ok {
			return commands, append(faults, fault{at: at(c.next, len(value)), message: badQuoting})
		}
		if first.text == ";" {
			continue
		}
		cmd, message := readCommand(unit, first, &c)
		if message != "" {
			return commands, append(faults, fault{at: at(first.at[0], len(value)), message: message, refused: !cmd.ignore})
		}
		commands = append(commands, cmd)
		if !endOfCommand(&c) {
			break
		}
	}
	return commands, faults
}

// execWord reads a word as extract_first_word_and_warn does: an escape that is none is kept as it is written.
func execWord(c *cutter) (word, bool) {
	how := splitting{unquote: true, unescape: true}
	if w, ok := c.word(how); ok {
		return w, true
	}
	how.relax = true
	return c.word(how)
}

// endOfCommand goes past a semicolon that ends a command.
func endOfCommand(c *cutter) bool {
	if !alone(c, ";") {
		return false
	}
	c.next++
	return !c.done()
}

// alone reports whether a word stands here, unquoted and with nothing behind it.
func alone(c *cutter, text string) bool {
	rest := c.text[c.next:]
	return strings.HasPrefix(rest, text) && (len(rest) == len(text) || isSpace(rest[len(text)]))
}

func readCommand(unit name, first word, c *cutter) (cmd command, message string) {
	prefix, ownName := prefixes(first.text)
	cmd.ignore = strings.Contains(first.text[:prefix], "-")
	resolved, how := unit.expand(first.text[prefix:])
	cmd.path = resolved
	if how == unknown {
		return cmd, badSpecifier
	}
	if message := badExecutable(resolved); how == settled && message != "" {
		return cmd, message
	}
	if !ownName {
		cmd.arguments = append(cmd.arguments, word{resolved, first.at})
	}
	for !c.done() && !alone(c, ";") {
		w, ok := execArgument(c)
		if !ok {
			return cmd, "the quotes or escapes of an argument are not in order"
		}
		if _, how := unit.expand(w.text); how == unknown {
			return cmd, badSpecifier
		}
		cmd.arguments = append(cmd.arguments, w)
	}
	if len(cmd.arguments) == 0 {
		return cmd, "there is no name behind the @"
	}
	return cmd, ""
}

func execArgument(c *cutter) (word, bool) {
	if alone(c, `\;`) {
		w := word{";", []int{c.next, c.next + 2}}
		c.next += 2
		return w, true
	}
	return execWord(c)
}

// prefixes is how long the special characters in front of an executable are, and whether one says that the next word is the
// argument of number zero. Each counts once; + and ! exclude one another, but for !!.
func prefixes(s string) (n int, ownName bool) {
	seen := map[byte]int{}
	for ; n < len(s); n++ {
		b := s[n]
		privileged := seen['+'] + seen['!']
		switch {
		case strings.IndexByte("-@:", b) >= 0 && seen[b] == 0:
		case b == '+' && privileged == 0:
		case b == '!' && seen['+'] == 0 && seen['!'] < 2:
		default:
			return n, seen['@'] > 0
		}
		seen[b]++
	}
	return n, seen['@'] > 0
}

// badExecutable says what systemd has against a path, or a name to search for.
func badExecutable(p string) string {
	const nameMax = 255
	switch {
	case p == "":
		return "there is no executable"
	case strings.ContainsFunc(p, unsafe):
		return "the executable has a quote, a backslash or a control character"
	case strings.HasSuffix(p, "/") || path.Base(p) == "." || path.Base(p) == "..":
		return "the executable is a directory"
	case !path.IsAbs(p) && strings.Contains(p, "/"):
		return "the executable is neither an absolute path nor a name"
	case len(p) > maxPath:
		return "the executable's path is too long"
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > nameMax {
			return "the executable's name is too long"
		}
	}
	return ""
}

// exec handles the settings with command lines.
func (s *service) exec(a assignment) {
	if a.value == "" {
		delete(s.settings.exposed, a.key)
		return
	}
	s.settings.exposed[a.key] = append(s.settings.exposed[a.key], a.exposed...)
	s.faults(a)
}

// tellExposed makes findings of the secrets in command lines.
func (s *service) tellExposed() {
	var keys []string
	for key := range s.settings.exposed {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		for _, e := range s.settings.exposed[key] {
			s.findings = append(s.findings, descriptor.Finding{
				Rule: descriptor.RuleArgument, Severity: policy.SeverityWarning, Position: e.at, Name: e.what,
				Message: "by the name before it a secret stands in the command line, which every user can read",
				Fix:     "move it into a file of mode 0600, use LoadCredential=, and give the program the file",
			})
		}
	}
}
