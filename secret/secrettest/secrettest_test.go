package secrettest

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/secret"
)

const content = "Wq7-tR2_kP9.xL4~vN6+"

func mustSecret(t *testing.T, content string) *secret.Secret {
	t.Helper()
	s, err := secret.FromBytes([]byte(content))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var yamlEncoder = Encoder{"yaml", yaml.Marshal}

type (
	named      struct{ Token *secret.Secret }
	unexported struct{ token *secret.Secret }
	nested     struct {
		All map[string][]*named
		any any
	}
	self struct {
		token *secret.Secret
		next  *self
	}
	linked struct {
		Token *secret.Secret
		Next  *linked
		Any   any
		note  string
	}
)

func TestCheckAccepts(t *testing.T) {
	s := mustSecret(t, content)
	k, err := secret.NewKey(func(b []byte) error { copy(b, content); return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	loop := &self{token: s}
	loop.next = &self{next: loop}
	for name, v := range map[string]any{
		"named":          named{s},
		"pointer":        &named{s},
		"nil field":      named{},
		"unexported":     unexported{s},
		"nested":         nested{map[string][]*named{"a": {{s}}}, &unexported{s}},
		"embedded":       struct{ *secret.Secret }{s},
		"the secret":     s,
		"a key":          k,
		"itself":         s,
		"other bytes":    struct{ Name, Path string }{"token", "/etc/llorch/secrets/api-token"},
		"an integer":     42,
		"a method value": s.Use,
	} {
		t.Run("EXP-CROSS-7003 "+name, func(t *testing.T) {
			if name == "a method value" {
				Check(t, v, s) // yaml panics on functions
			} else {
				Check(t, v, s, yamlEncoder)
			}
		})
	}
	if found := newSearch([]byte(content)).walk(loop); len(found) > 0 {
		t.Errorf("EXP-CROSS-7003 a loop: %v", found)
	}
}

// How callers leak.
type (
	copied     struct{ token string }
	copiedHex  struct{ Note string }
	printing   struct{ s *secret.Secret }
	pointed    struct{ s *secret.Secret }
	marshaling struct{ s *secret.Secret }
	textual    struct{ s *secret.Secret }
	wide       struct{ runes []rune }
)

func (p printing) String() string {
	out, err := p.s.Expose()
	return fmt.Sprint("token=", out, err)
}

func (p *pointed) String() string { return printing{p.s}.String() }

func (m marshaling) MarshalJSON() ([]byte, error) {
	out, err := m.s.Expose()
	return fmt.Appendf(nil, "%q", out), err
}

func (x textual) MarshalText() ([]byte, error) {
	out, err := x.s.Expose()
	return nil, errors.Join(err, fmt.Errorf("cannot encode %s", out))
}

func TestCheckFindsLeaks(t *testing.T) {
	s := mustSecret(t, content)
	part := content[7 : 7+MinRun]
	for _, tt := range []struct {
		name string
		v    any
		want string // in the first problem
	}{
		{"a string", &copied{content}, "a part of the secret (as it is) is shown by"},
		{"the first four bytes", copied{content[:MinRun] + "****"}, "as it is"},
		{"four bytes in the middle", map[string]any{"k": []any{part}}, "as it is"},
		{"a map key", map[string]int{content: 1}, "as it is"},
		{"bytes", struct{ b []byte }{[]byte(content)}, "decimal"},
		{"runes", wide{[]rune(content)}, "decimal"},
		{"hex", copiedHex{hex.EncodeToString([]byte(content))}, "hex"},
		{"upper-case hex", copiedHex{strings.ToUpper(hex.EncodeToString([]byte(content)))}, "hex"},
		{"base64", copiedHex{base64.StdEncoding.EncodeToString([]byte("x" + content))}, "base64"},
		{"base64url", copiedHex{base64.RawURLEncoding.EncodeToString([]byte("xy" + content))}, "base64"},
		{"a String method", printing{s}, "as it is"},
		{"a String method of the pointer", pointed{s}, "as it is"},
		{"bytes that were cut off", struct{ b []byte }{[]byte(content)[:0]}, "lies in"},
		{"a MarshalJSON method", marshaling{s}, "encoding/json"},
		{"an error of MarshalText", textual{s}, "as it is"},
		{"an error", fmt.Errorf("login with %s: %w", content, fs.ErrPermission), "as it is"},
		{"embedded and nil", struct{ *secret.Secret }{}, "panics"},
		{"a pointer that fmt does not follow", &struct{ p **copied }{new(*copied)}, ""},
	} {
		t.Run("EXP-CROSS-7003 "+tt.name, func(t *testing.T) {
			if p, ok := tt.v.(*struct{ p **copied }); ok {
				*p.p, tt.want = &copied{content}, "lies in"
			}
			found := problems(tt.v, s, []Encoder{yamlEncoder})
			if len(found) == 0 || !strings.Contains(strings.Join(found, "\n"), tt.want) {
				t.Fatalf("found %v, want %q", found, tt.want)
			}
			for i := 0; i+MinRun <= len(content); i++ {
				if strings.Contains(strings.Join(found, "\n"), content[i:i+MinRun]) {
					t.Fatal("SM-TYPE-3003: the messages show the secret")
				}
			}
		})
	}
	t.Run("EXP-CROSS-7003 another encoder", func(t *testing.T) {
		leaky := Encoder{"mine", func(any) ([]byte, error) { return []byte(content), nil }}
		if found := problems(named{s}, s, []Encoder{leaky}); len(found) != 1 || !strings.HasSuffix(found[0], "is shown by mine") {
			t.Errorf("found %v", found)
		}
	})
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Helper() {}

func TestCheckRefusesWhatItCannotJudge(t *testing.T) {
	closed := mustSecret(t, content)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*secret.Secret{"closed": closed, "nil": nil, "short": mustSecret(t, "abc")} {
		r := &recorder{TB: t}
		if Check(r, 1, s); len(r.errors) != 1 {
			t.Errorf("EXP-CROSS-7003 %s: %v", name, r.errors)
		}
	}
}

// TestCheckOfLoops: EXP-CROSS-7003: printers that never end fill the stack, which ends the whole test process.
func TestCheckOfLoops(t *testing.T) {
	s := mustSecret(t, content)
	parent := &linked{Token: s, note: "nothing"}
	child := &linked{Next: parent}
	parent.Next, parent.Any = child, []*linked{child, child}
	if found := problems(parent, s, nil); len(found) > 0 {
		t.Errorf("EXP-CROSS-7003 a parent and a child: %v", found)
	}
	parent.note = content
	if found := strings.Join(problems(child, s, nil), "\n"); !strings.Contains(found, "lies in") {
		t.Errorf("EXP-CROSS-7003 a leak in a loop: %v", found)
	}

	list, dict := make([]any, 2), map[string]any{}
	list[0], list[1] = list, list
	dict["a"], dict["b"] = dict, []any{dict}
	for name, v := range map[string]any{"slice": list, "map": dict, "unexported": struct{ l []any }{list}} {
		if found := problems(v, s, nil); len(found) != 1 || !strings.Contains(found[0], "refers to itself") {
			t.Errorf("EXP-CROSS-7003 %s: %v", name, found)
		}
	}
	// No loop: the same thing twice, and a part of a slice in it.
	list[0], list[1] = parent.Token, list[:1]
	for name, v := range map[string]any{"a part": list, "twice": []any{parent.Token, parent.Token}} {
		if found := problems(v, s, nil); len(found) > 0 {
			t.Errorf("EXP-CROSS-7003 %s: %v", name, found)
		}
		if loops(v, false) || loops(v, true) {
			t.Errorf("EXP-CROSS-7003 %s is taken for a loop", name)
		}
	}
}

func TestCanary(t *testing.T) {
	a, b := Canary(t), Canary(t)
	text, err := a.Expose()
	if err != nil || len(text) != canarySize || strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		t.Errorf("EXP-CROSS-7003: %d characters, error %v", len(text), err)
	}
	if b.Verify(text) {
		t.Error("EXP-CROSS-7003: two canaries are equal")
	}
	if found := problems(copied{text}, a, nil); len(found) == 0 {
		t.Error("EXP-CROSS-7003: a leaked canary is not found")
	}
}

func TestFile(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o640, 0o644, 0o777, 0o400, 0o000} {
		t.Run(fmt.Sprintf("EXP-CROSS-7003 %04o", mode), func(t *testing.T) {
			path := File(t, content+"\n", mode)
			wantMode(t, path, mode)
			wantMode(t, filepath.Dir(path), 0o700)
			if real, err := filepath.EvalSymlinks(path); err != nil || real != path {
				t.Errorf("not a real path: %v", err)
			}
			if mode&0o400 == 0 {
				return
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content+"\n" {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
		})
	}
}

func wantMode(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != mode {
		t.Errorf("mode %04o, want %04o", info.Mode().Perm(), mode)
	}
}

func TestCredentials(t *testing.T) {
	before, had := os.LookupEnv(CredentialsVariable)
	var dir string
	t.Run("EXP-CROSS-7003 while the test runs", func(t *testing.T) {
		dir = Credentials(t, map[string]string{"api_token": content, "seal key": "00"})
		if os.Getenv(CredentialsVariable) != dir || !filepath.IsAbs(dir) {
			t.Errorf("the variable is %q", os.Getenv(CredentialsVariable))
		}
		wantMode(t, dir, 0o500)
		for name, want := range map[string]string{"api_token": content, "seal key": "00"} {
			path := filepath.Join(os.Getenv(CredentialsVariable), name)
			wantMode(t, path, 0o400)
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%s: %d bytes, error %v", name, len(got), err)
			}
		}
	})
	if now, has := os.LookupEnv(CredentialsVariable); now != before || has != had {
		t.Error("EXP-CROSS-7003: the variable stays")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("EXP-CROSS-7003: the directory stays: %v", err)
	}
}
