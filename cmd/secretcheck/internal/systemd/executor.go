package systemd

import (
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// executorSince is the version from which systemd has services started by systemd-executor, which it tells about their
// credentials in lines of words. It does not quote them: a space cuts a name or a path in two, and a backslash is lost.
// (execute-serialize.c)
const executorSince = 255

// handOver is what arrives at the executor of the credentials in force, those of one name the last. What does not arrive
// keeps the service from starting.
func (s *service) handOver() {
	if s.version < executorSince || !s.loaded.special() && !s.literal.special() && !s.imported.special() {
		return
	}
	s.loaded = s.loaded.each(func(c credential) (string, credential) {
		if c.doubt != nil && c.lookup == nil || !special(c.id+c.path) {
			return c.id, c
		}
		w, ok := words(c.id + " " + c.path + " " + yesNo(c.encrypted))
		if ok = ok && len(w) >= 3 && isBoolean(w[2]); !ok { // more words are passed over
			return c.id, c.lost()
		}
		c.id, c.encrypted = w[0], isTrue(w[2])
		return c.id, s.from(c, w[1])
	})
	s.literal = s.literal.each(func(c credential) (string, credential) {
		if c.doubt == nil && special(c.id) {
			w, ok := words(c.id)
			if !ok || len(w) != 1 {
				return c.id, c.lost()
			}
			c.id = w[0]
		}
		return c.id, c
	})
	if s.version < sinceRename {
		return // the line for an import is one word
	}
	s.imported = s.imported.each(func(c credential) (string, credential) {
		if c.lookup != nil && special(c.lookup.Name+c.lookup.Rename) {
			w, ok := words(strings.TrimSpace(c.lookup.Name + " " + c.lookup.Rename))
			if !ok {
				return c.id, c.lost()
			}
			c.lookup = &descriptor.Lookup{Name: w[0], Import: true}
			if len(w) > 1 {
				c.lookup.Rename = w[1]
			}
			c.id = visible(c.lookup.Name, c.lookup.Rename)
		}
		return c.key(), c
	})
}

// special reports whether anything happens to one of the credentials on its way.
func (s *credentials) special() bool {
	return slices.ContainsFunc(s.list, func(c *credential) bool {
		return c != nil && (special(c.id+c.path) || c.lookup != nil && special(c.lookup.Name))
	})
}

// special reports whether anything happens to a text on its way.
func special(s string) bool { return strings.ContainsAny(s, ` \`) }

// key tells imports apart.
func (c *credential) key() string {
	if c.lookup == nil {
		return c.id
	}
	return c.lookup.Name + "\x00" + c.lookup.Rename
}

// lost marks a credential whose line the executor refuses.
func (c credential) lost() credential {
	c.fault = &descriptor.Doubt{
		Rule:    descriptor.RuleNotStarted,
		Message: "systemd 255 and later does not start a service with a space or a backslash there",
		Fix:     "use a name and a path without spaces and backslashes",
	}
	return c
}

// from sets the source.
func (s *service) from(c credential, path string) credential {
	switch {
	case path == c.path:
	case strings.HasPrefix(path, "/") && normalized(path):
		c.path, c.lookup, c.doubt = path, nil, nil
	case !strings.HasPrefix(path, "/") && ValidName(path):
		c.path = path
		c.lookup, c.doubt = &descriptor.Lookup{Name: path}, s.originDoubt()
	default:
		return c.lost() // without its backslashes it is another path than it was checked as
	}
	return c
}

// words is systemd's extract_many_words: cut at each space, and a backslash takes the next byte as it is.
func words(s string) (list []string, ok bool) {
	var word strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return nil, false
			}
			word.WriteByte(s[i])
		case ' ':
			list = append(list, word.String())
			word.Reset()
		default:
			word.WriteByte(s[i])
		}
	}
	return append(list, word.String()), true
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func isBoolean(s string) bool { return isTrue(s) || isFalse(s) }
