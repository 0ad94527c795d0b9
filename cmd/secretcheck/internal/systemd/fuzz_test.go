package systemd

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRead holds for every unit: no panic, each name in force once, and each load points at the place where its name
// stands.
func FuzzRead(f *testing.F) {
	for _, c := range syntax {
		f.Add([]byte(c.unit))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		loads, findings := Read(unit("u@i.service", string(data)))
		lines := strings.Split(string(data), "\n")
		seen := map[string]bool{}
		for _, l := range loads {
			if seen[l.Name] {
				t.Errorf("%q is loaded twice", l.Name)
			}
			seen[l.Name] = true
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
			plain := !strings.ContainsAny(string(line), `%\`)
			if rest := string(line[l.Column-1:]); plain && !strings.HasPrefix(rest, name) {
				t.Errorf("load %+v points at %q", l, rest)
			}
		}
		for _, f := range findings {
			if f.Rule == "" || f.Message == "" || f.Line < 1 || f.Line > len(lines) || f.Column < 1 {
				t.Errorf("finding %+v", f)
			}
		}
	})
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
