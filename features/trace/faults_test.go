package trace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// faults lists what is wrong, sorted; nothing when every requirement has a citation, every citation a requirement,
// and every test that a specification names is there.
func (t *traced) faults() []string {
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if len(t.defined) == 0 {
		say("no requirement is defined in .specs")
	}
	if len(t.cited) == 0 {
		say("no test cites a requirement")
	}
	for id, at := range t.cited {
		if t.defined[id] == nil {
			say("%s is cited and not defined: %s", id, strings.Join(at, ", "))
		}
	}
	for what, at := range t.named {
		if t.there[what] == nil {
			say("%s is named and does not exist: %s", what, strings.Join(at, ", "))
		}
	}
	requirements := slices.Sorted(maps.Keys(t.defined))
	for i, defined := range requirements {
		at := t.defined[defined]
		if !id.MatchString(defined) {
			say("%s is no id that citations are searched for: %s", defined, at[0])
		}
		if len(at) > 1 {
			say("%s is defined more than once: %s", defined, strings.Join(at, ", "))
		}
		if t.cited[defined] == nil {
			say("%s has no test: %s", defined, at[0])
		}
		// Sorted, whatever an id begins comes directly behind it. A search for the one would find the other.
		for _, longer := range requirements[i+1:] {
			if !strings.HasPrefix(longer, defined) {
				break
			}
			say("%s begins with %s, which is an id of its own: %s", longer, defined, t.defined[longer][0])
		}
	}
	slices.Sort(list)
	return list
}
