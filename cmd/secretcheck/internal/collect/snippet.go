package collect

import (
	"bytes"
	"slices"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

// unshown lists the rules whose lines can hold anything: what was not understood may be a part of a secret.
func unshown() []string {
	return []string{
		descriptor.RuleUnreadable, descriptor.RuleUnparsable, descriptor.RuleIgnored, descriptor.RuleUnusedSetting, descriptor.RuleRefused,
		descriptor.RuleUnknownField,
	}
}

// text is one file that was read.
type text struct {
	name string // as reports name it
	data []byte
}

// texts are the files of one descriptor.
type texts []text

func textsOf(files []systemd.File) (t texts) {
	for _, f := range files {
		t = append(t, text{f.Name, f.Data})
	}
	return t
}

// show gives loads and findings their lines.
func (t texts) show(loads []descriptor.Load, findings []descriptor.Finding) {
	if len(loads)+len(findings) == 0 {
		return
	}
	lines := map[string][][]byte{}
	for _, f := range t {
		lines[f.name] = bytes.Split(f.data, []byte("\n"))
	}
	snippet := func(at descriptor.Position, public ...string) string {
		if all := lines[at.File]; at.Line >= 1 && at.Line <= len(all) {
			return descriptor.Snippet(string(all[at.Line-1]), public...)
		}
		return ""
	}
	for i := range loads {
		l := &loads[i]
		l.Snippet = snippet(l.Position, l.Name, l.Path, l.Origin)
	}
	for i := range findings {
		if f := &findings[i]; !slices.Contains(unshown(), f.Rule) {
			f.Snippet = snippet(f.Position, f.Name, f.Path)
		}
	}
}
