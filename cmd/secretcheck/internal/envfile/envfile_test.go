package envfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/realsystemd"
)

// show writes variables as NAME@LINE:COLUMN-LINE:COLUMN, with a "!" for a literal.
func show(list []Variable) string {
	var out []string
	for _, v := range list {
		s := fmt.Sprintf("%s@%d:%d-%d:%d", v.Name, v.Line, v.Column, v.EndLine, v.EndColumn)
		if v.Literal {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// Each case is a rule of env-file.c.
// Evidence for CHK-1075.
func TestCHK1075Syntax(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"A=x\n", "A@1:1-1:4!"},
		{"A=x", "A@1:1-1:4!"},
		{" A = x \n", "A@1:2-1:8!"},
		{"A=\nB=x", "A@1:1-1:3 B@2:1-2:4!"},
		{"# A=x\n; B=x\nC=x", "C@3:1-3:4!"},
		{"# A=x\\\nB=x\n", "B@2:1-2:4!"},
		{"A='x\ny'\nB=x", "A@1:1-2:3! B@3:1-3:4!"},
		{"A=\"x\\\ny\"", "A@1:1-2:3!"},
		{"A=x\\\ny\nB=x", "A@1:1-2:2! B@3:1-3:4!"},
		{"A='' \n", "A@1:1-1:6"},
		{"A='' x\n", "A@1:1-1:7!"},
		{"A='x' 'y'\n", "A@1:1-1:10!"},
		{"A='x", "A@1:1-1:5!"},
		{"A=\\\n \\q\n", "A@1:1-2:4!"}, // white space before an escape is part of the value
		{"A=1\nA=x\n", "A@2:1-2:4!"},
		{"export A=x\n1=x\nÄ=x\n=x\nA\n", "@1:1-1:11! @2:1-2:4! @3:1-3:4!"},
		{"é=é", "@1:1-1:4!"},
		{"A=/etc/x\nB=$A\nC=yes\n", "A@1:1-1:9 B@2:1-2:5 C@3:1-3:6"},
		{"A=x\rB=x", "A@1:1-1:4! B@1:5-1:8!"},
	} {
		list, err := Parse([]byte(c.text))
		if got := show(list); err != nil || got != c.want {
			t.Errorf("%q: got %s, want %s; %v", c.text, got, c.want, err)
		}
	}
	for _, text := range []string{"A=x\x00", "A=\xff", "\xff=x", "A='\xff"} {
		if list, err := Parse([]byte(text)); !errors.Is(err, ErrUnreadable) || list != nil {
			t.Errorf("%q: %v %v", text, list, err)
		}
	}
}

// What a real systemd hands to a service is what is read here, from files of hostile syntax: the names of all variables,
// whether they have a value, and whether the file is read at all.
// Evidence for CHK-1075.
func TestCHK1075Environment(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	t.Run("own", func(t *testing.T) { compareEnvironments(t, "") })
	t.Run("257", func(t *testing.T) {
		if root, ok := realsystemd.Debian13(t); ok {
			compareEnvironments(t, root)
		}
	})
}

const environments = 60

func compareEnvironments(t *testing.T, root string) {
	random := rand.New(rand.NewPCG(7, 1075))
	m := &realsystemd.Machine{Root: root, Units: map[string]string{}}
	texts := map[string]string{}
	for i := range environments {
		name := fmt.Sprintf("e%d.service", i)
		texts[name] = hostile(random)
		m.Files = append(m.Files, realsystemd.File{Path: "/run/machine/" + name, Mode: 0o600, Content: []byte(texts[name])})
		m.Units[name] = "[Service]\nType=oneshot\nEnvironmentFile=-/run/machine/" + name + "\nExecStart=/usr/bin/env -0\n"
		m.Start = append(m.Start, name)
	}
	r := m.Run(t)
	for name, text := range texts {
		theirs := map[string]bool{}
		for line := range strings.SplitSeq(r.Services[name].Stdout, "\x00") {
			if key, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(key, "V_") {
				theirs[key] = value != ""
			}
		}
		list, _ := Parse([]byte(text))
		ours := map[string]bool{}
		for _, v := range list {
			if v.Name != "" {
				ours[v.Name] = v.Literal
			}
		}
		if continued := strings.Contains(text, "# comment\\\n"); continued && r.Version < 254 {
			continue // there, the comment goes on
		}
		if fmt.Sprint(theirs) != fmt.Sprint(ours) {
			t.Errorf("systemd %d: %q:\nours   %v\ntheirs %v", r.Version, text, ours, theirs)
		}
	}
}

// hostile makes up a file in which each value is either empty or a literal.
func hostile(r *rand.Rand) string {
	var b strings.Builder
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for i := range 1 + r.IntN(8) {
		switch r.IntN(6) {
		case 0:
			b.WriteString(pick("# comment\n", "; V_C=x\n", "\n", "# comment\\\n", "  # V_C=x\n", "novalue\n", "export V_E=x\n", "V-X=x\n", "1V=x\n"))
			continue
		case 1:
			b.WriteString(pick(" ", "\t"))
		}
		fmt.Fprintf(&b, "V_%d%s=%s", r.IntN(i+1), pick("", "", " "), pick("", " "))
		for range r.IntN(4) {
			b.WriteString(pick("'", `"`, `\`, "q", "''", `""`, "'x y'", `"z"`, "é", "#w", "=", `\n`, `"\""`, `"\q"`, "\\\n", " ", ";"))
		}
		b.WriteString(pick("\n", "\n", "\r\n", ""))
	}
	if r.IntN(10) == 0 {
		b.WriteString("\nV_BAD=\xff\n")
	}
	return b.String()
}

// FuzzParse holds for every file: no panic, names as a shell has them, places in the file, and nothing of a value.
// Evidence for CHK-1079.
func FuzzParse(f *testing.F) {
	f.Add([]byte("A=x\nB='y\n' z\nexport C=1\n# D=\\\nE=\"\\$\"\\\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Parse(data)
		if err != nil && list != nil {
			t.Error("a file that is not read has variables")
		}
		lines := bytes.Count(data, []byte("\n")) + 1
		seen := map[string]bool{}
		for _, v := range list {
			if v.Name != "" && (seen[v.Name] || !valid(v.Name) || !bytes.Contains(data, []byte(v.Name))) {
				t.Errorf("variable %+v", v)
			}
			seen[v.Name] = true
			if v.Line < 1 || v.EndLine < v.Line || v.EndLine > lines || v.Column < 1 || v.EndColumn < 1 || v.EndLine == v.Line && v.EndColumn < v.Column {
				t.Errorf("place %+v of %d lines", v, lines)
			}
		}
	})
}

// A file of the largest size takes time in proportion.
// Evidence for CHK-1079.
func TestCHK1079LargeFile(t *testing.T) {
	start := time.Now()
	list, err := Parse([]byte(strings.Repeat("A_TOKEN=x\n", 100_000)))
	if err != nil || len(list) != 1 || time.Since(start) > 20*time.Second {
		t.Errorf("%d variables, %v, %v", len(list), err, time.Since(start))
	}
}
