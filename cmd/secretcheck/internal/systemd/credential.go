package systemd

import (
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

const (
	maxName = 255  // NAME_MAX
	maxPath = 4095 // PATH_MAX without its NUL
)

// ValidName is systemd's credential_name_valid: a file name and a descriptor name at once.
func ValidName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 127 || s[i] == '/' || s[i] == ':' {
			return false
		}
	}
	return true
}

// validGlob is systemd's credential_glob_valid: a name, or a name's beginning and one asterisk.
func validGlob(s string) bool {
	head, tail := s, ""
	if i := strings.IndexAny(s, "*?[]"); i >= 0 {
		head, tail = s[:i], s[i:]
	}
	if tail == "" {
		return ValidName(head)
	}
	return tail == "*" && (head == "" || ValidName(head))
}

// normalized is systemd's path_is_normalized for an absolute path: no ".", no "..", no empty component but a last one.
func normalized(p string) bool {
	if len(p) > maxPath || strings.Contains(p, "//") {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return true
}

// firstWord is systemd's extract_first_word up to a colon: no quoting, and a backslash takes the next byte as it is.
// It reports false for a backslash at the end.
func firstWord(s string) (word, rest string, ok bool) {
	i := colon(s)
	raw := s
	if i >= 0 {
		raw, rest = s[:i], s[i+1:]
	}
	var out strings.Builder
	for j := 0; j < len(raw); j++ {
		if raw[j] == '\\' {
			if j++; j == len(raw) {
				return "", "", false
			}
		}
		out.WriteByte(raw[j])
	}
	return out.String(), rest, true
}

// credential is one credential setting in force.
type credential struct {
	id     string
	path   string // where it is loaded from: absolute, or a name in the credential store
	inline bool
	size   int64 // of a literal
	doubt  *descriptor.Doubt
	lookup *descriptor.Lookup
	fault  *descriptor.Doubt
	at     descriptor.Position

	encrypted bool
}

// credentials are the settings of one kind, in the order of the lines in force. The zero value is empty.
type credentials struct {
	list []*credential // nil where a later line took over
	at   map[string]int
}

// put adds c in place of an earlier one with the same name: of several lines the last is in force.
func (s *credentials) put(c credential) { s.putAt(c.id, c) }

func (s *credentials) putAt(key string, c credential) {
	if s.at == nil {
		s.at = map[string]int{}
	}
	if i, ok := s.at[key]; ok {
		s.list[i] = nil
	}
	s.at[key] = len(s.list)
	s.list = append(s.list, &c)
}

// add adds c unless there is one with that key.
func (s *credentials) add(key string, c credential) {
	if s.at == nil {
		s.at = map[string]int{}
	}
	if _, known := s.at[key]; !known {
		s.at[key] = len(s.list)
		s.list = append(s.list, &c)
	}
}

// each makes new settings of those in force. Of one key the last is kept.
func (s *credentials) each(change func(credential) (string, credential)) credentials {
	var out credentials
	for _, c := range s.list {
		if c != nil {
			key, c := change(*c)
			out.putAt(key, c)
		}
	}
	return out
}

// has reports whether a credential of that name is in force.
func (s *credentials) has(id string) bool {
	_, ok := s.at[id]
	return ok
}
