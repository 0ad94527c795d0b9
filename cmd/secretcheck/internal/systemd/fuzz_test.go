package systemd

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/secretname"
)

// FuzzRead holds for every unit: no panic, each name in force once, and each load points at the place where its name
// stands.
func FuzzRead(f *testing.F) {
	for _, c := range syntax {
		f.Add([]byte(c.unit))
	}
	for _, c := range settingCases {
		f.Add([]byte("[Service]\n" + c.unit + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		loads, findings := Read(unit("u@i.service", string(data)))
		lines := strings.Split(string(data), "\n")
		seen := map[string]bool{}
		for _, l := range loads {
			if key := string(l.Source) + l.Name; seen[key] {
				t.Errorf("%q is loaded twice", l.Name)
			} else {
				seen[key] = true
			}
			name := l.Name
			if l.Lookup != nil && l.Lookup.Import {
				name = l.Lookup.Name
			}
			if !utf8.ValidString(l.Name+l.Origin+l.Path) || l.Line < 1 || l.Line > len(lines) {
				t.Fatalf("load %+v", l)
			}
			line := []rune(strings.TrimPrefix(lines[l.Line-1], bom))
			if l.Column < 1 || l.Column > len(line) {
				t.Fatalf("load %+v is not on line %q", l, string(line))
			}
			// Specifiers, backslashes and continuations change a name on its way; its first character stays.
			if at := line[l.Column-1]; l.Doubt == nil && at != '%' && at != '\\' && !strings.HasPrefix(name, string(at)) {
				t.Errorf("load %+v points at %q", l, string(line[l.Column-1:]))
			}
			plain := !strings.ContainsAny(string(line), "%\\\"'")
			if rest := string(line[l.Column-1:]); plain && !strings.HasPrefix(rest, name) {
				t.Errorf("load %+v points at %q", l, rest)
			}
		}
		for _, f := range findings {
			if f.Rule == "" || f.Message == "" || f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Ended().EndLine < f.Line || f.Ended().EndLine > len(lines) {
				t.Errorf("finding %+v", f)
			}
		}
	})
}

// FuzzSettings holds for every value of a setting that is taken apart: words know where they come from, what is quoted
// comes back as it was, and what is told about lies within the value.
// Evidence for CHK-1070, CHK-1079.
func FuzzSettings(f *testing.F) {
	for _, c := range settingCases {
		_, value, _ := strings.Cut(c.unit, "=")
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if !validUTF8(value) || strings.ContainsRune(value, 0) {
			return
		}
		quoted := cutter{text: quote(value)}
		if w, ok := quoted.word(splitting{unquote: true, unescape: true}); !ok || w.text != value || !quoted.done() {
			t.Errorf("%q is quoted as %s and comes back as %q, %v", value, quoted.text, w.text, ok)
		}
		for _, how := range []splitting{{}, {unquote: true}, {unquote: true, unescape: true}, {unquote: true, unescape: true, relax: true}} {
			c := cutter{text: value}
			for !c.done() {
				before := c.next
				w, ok := c.word(how)
				if !ok {
					break
				}
				if len(w.at) != len(w.text)+1 || !slices.IsSorted(w.at) || w.start() < before || w.end() > c.next || c.next <= before {
					t.Fatalf("%q: word %+v between %d and %d", value, w, before, c.next)
				}
			}
		}
		within := func(from, to int) (none descriptor.Position) {
			if from < 0 || to < from || to > len(value) {
				t.Fatalf("%q: %d to %d", value, from, to)
			}
			return none
		}
		unit := splitName("u@i.service")
		variables, _ := readEnvironment(unit, value, within)
		for _, v := range variables {
			if !v.open && !validVariable(v.name) {
				t.Errorf("%q sets %q", value, v.name)
			}
		}
		found, _ := readExec(unit, value, within)
		for _, e := range found {
			if !isName(e.what) || !secretname.Is(e.what) {
				t.Errorf("%q: %q is called a secret", value, e.what)
			}
		}
	})
}

// quote writes a word that is s, whatever is in it.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == 0x7f {
			fmt.Fprintf(&b, "\\x%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + `"`
}

// FuzzMemory holds for every unit with its drop-ins, however often its text is repeated: it is read in time, and within
// [maxMemory] bytes that are allocated in all.
// Evidence for CHK-1056.
func FuzzMemory(f *testing.F) {
	for i, c := range syntax {
		f.Add([]byte(c.unit), uint16(i*7), uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, repeat uint16, files uint8) {
		const most = 64 << 10
		data = bytes.Repeat(data, 1+min(int(repeat), most/max(len(data), 1)))
		u := Unit{Name: "a-b@c.service", User: files&1 != 0, Version: 250 + int(files>>4)}
		for i := range 1 + int(files>>1)%5 {
			u.Files = append(u.Files, File{Name: fmt.Sprint(i), Data: data[len(data)*i/8:]})
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		Read(u)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > maxMemory || took > maxTime {
			t.Errorf("%d MiB, %v for %d files of %d bytes", used>>20, took, len(u.Files), len(data))
		}
	})
}
