package statefile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/policy/internal/ownfile"
)

// Evidence for POL-5006 and POL-5007: the state file.

func one(revision uint64) State { return State{"llorch", revision} }

// place is a directory that only we can write to, with or without a state file in it.
func place(t testing.TB, recorded ...uint64) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state")
	for _, r := range recorded {
		if err := Raise(t.Context(), path, one(r), true); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func holds(t testing.TB, path string, want uint64) {
	t.Helper()
	if s, err := Read(path); err != nil || s != one(want) {
		t.Errorf("state %+v, error %v, want revision %d", s, err, want)
	}
}

func TestARevisionNeverFalls(t *testing.T) {
	path := place(t)
	t.Run("POL-5006 a missing file is not made up", func(t *testing.T) {
		if err := Raise(t.Context(), path, one(1), false); !errors.Is(err, ErrState) || !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		} else if !strings.Contains(err.Error(), "CreateState") {
			t.Errorf("%v does not say how a first state is made", err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
			t.Errorf("left %v, %v", entries, err)
		}
	})
	for _, step := range []struct {
		revision, then uint64
		want           error
	}{
		{5, 5, nil},
		{4, 5, ErrOlder},
		{5, 5, nil},
		{1<<64 - 1, 1<<64 - 1, nil},
		{6, 1<<64 - 1, ErrOlder},
	} {
		t.Run(fmt.Sprintf("POL-5006 %d", step.revision), func(t *testing.T) {
			if err := Admit(path, one(step.revision), true); !errors.Is(err, step.want) {
				t.Errorf("Admit: %v", err)
			}
			if err := Raise(t.Context(), path, one(step.revision), true); !errors.Is(err, step.want) {
				t.Errorf("Raise: %v", err)
			}
			holds(t, path, step.then)
		})
	}
	t.Run("POL-5006 another policy's", func(t *testing.T) {
		if err := Raise(t.Context(), path, State{"other", 1<<64 - 1}, true); !errors.Is(err, ErrState) {
			t.Error(err)
		}
	})
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

// TestDamageIsNotZero: no cut and no change of a state file is taken for a state, and none is repaired in silence.
func TestDamageIsNotZero(t *testing.T) {
	path := place(t, 120)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuses := func(t *testing.T, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Read(path); !errors.Is(err, ErrState) || s != (State{}) {
			t.Errorf("%q: read %+v, %v", content, s, err)
		}
		if err := Raise(t.Context(), path, one(200), true); !errors.Is(err, ErrState) {
			t.Errorf("%q: raised, %v", content, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, content) {
			t.Errorf("%q: it became %q", content, after)
		}
	}
	t.Run("POL-5006 cut anywhere", func(t *testing.T) {
		for n := range whole {
			refuses(t, whole[:n])
		}
	})
	t.Run("POL-5006 changed anywhere", func(t *testing.T) {
		for i := range whole {
			changed := bytes.Clone(whole)
			changed[i] ^= 1
			refuses(t, changed)
		}
	})
	for name, content := range map[string][]byte{
		"twice":    append(bytes.Clone(whole), whole...),
		"a tail":   append(bytes.Clone(whole), '\n'),
		"too long": bytes.Repeat([]byte("x"), 1<<20),
		"range":    []byte(State{"llorch", 0}.withRevision("99999999999999999999")),
		"zeros":    []byte(State{"llorch", 0}.withRevision("07")),
	} {
		t.Run("POL-5006 "+name, func(t *testing.T) { refuses(t, content) })
	}
}

// withRevision writes a state whose sum is right and whose number is not.
func (s State) withRevision(text string) string {
	line := string(s.marshal())
	line, _, _ = strings.Cut(line, " revision=")
	line += " revision=" + text
	return line + " sum=" + sum(line) + "\n"
}

func TestStatesSurviveTheirFile(t *testing.T) {
	t.Run("POL-5006", rapid.MakeCheck(func(t *rapid.T) {
		s := State{rapid.StringMatching(`[a-z0-9._-]{1,64}`).Draw(t, "name"), rapid.Uint64().Draw(t, "revision")}
		if len(s.marshal()) > maxSize {
			t.Fatal("longer than what is read")
		}
		if got, err := parse(s.marshal()); err != nil || got != s {
			t.Fatalf("%+v became %+v, %v", s, got, err)
		}
	}))
}

// TestForeignPlaces: a state that somebody else could have put there is none.
func TestForeignPlaces(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // modes and links mean other things there
	}
	for name, spoil := range map[string]func(t *testing.T, path string) string{
		"relative":           func(_ *testing.T, path string) string { return "./" + filepath.Base(path) },
		"unclean":            func(_ *testing.T, path string) string { return filepath.Dir(path) + "/./state" },
		"no directory":       func(_ *testing.T, path string) string { return filepath.Dir(path) + "/none/state" },
		"a file above":       func(_ *testing.T, path string) string { return path + "/state" },
		"readable by others": func(t *testing.T, path string) string { return chmod(t, path, path, 0o640) },
		"a directory that others write to": func(t *testing.T, path string) string {
			return chmod(t, path, filepath.Dir(path), 0o770)
		},
		"a symbolic link": func(t *testing.T, path string) string {
			if err := os.Symlink(path, path+"2"); err != nil {
				t.Fatal(err)
			}
			return path + "2"
		},
		"a directory in one that others write to": func(t *testing.T, path string) string {
			below := filepath.Join(filepath.Dir(path), "wide", "own")
			if err := os.MkdirAll(below, 0o700); err != nil {
				t.Fatal(err)
			}
			return chmod(t, filepath.Join(below, "state"), filepath.Dir(below), 0o777)
		},
		"a directory behind a link that others can replace": func(t *testing.T, path string) string {
			wide := filepath.Join(filepath.Dir(path), "wide")
			if err := errors.Join(os.Mkdir(wide, 0o700), os.Symlink(filepath.Dir(path), wide+"/link")); err != nil {
				t.Fatal(err)
			}
			return chmod(t, wide+"/link/state", wide, 0o777)
		},
		"a directory behind two links": func(t *testing.T, path string) string {
			wide := filepath.Join(filepath.Dir(path), "wide")
			if err := errors.Join(os.Mkdir(wide, 0o700), os.Symlink("..", wide+"/second"), os.Symlink("wide/second", filepath.Dir(path)+"/first")); err != nil {
				t.Fatal(err)
			}
			return chmod(t, filepath.Dir(path)+"/first/state", wide, 0o777)
		},
		"a directory behind a link that goes up again behind another": func(t *testing.T, path string) string {
			dir := filepath.Dir(path)
			if err := errors.Join(os.MkdirAll(dir+"/real/sub", 0o700), os.Mkdir(dir+"/wide", 0o700), os.Symlink(dir+"/real/sub", dir+"/wide/step"),
				os.Symlink("wide/step/../../.", dir+"/way")); err != nil {
				t.Fatal(err)
			}
			return chmod(t, dir+"/way/state", dir+"/wide", 0o777)
		},
		"a directory": func(t *testing.T, path string) string {
			if err := os.Mkdir(path+"2", 0o700); err != nil {
				t.Fatal(err)
			}
			return path + "2"
		},
	} {
		t.Run("POL-5006 "+name, func(t *testing.T) {
			path := spoil(t, place(t, 7))
			if s, err := Read(path); !errors.Is(err, ErrState) || s != (State{}) {
				t.Errorf("read %+v, %v", s, err)
			}
			if err := Raise(t.Context(), path, one(8), true); !errors.Is(err, ErrState) {
				t.Errorf("raised, %v", err)
			}
		})
	}
}

// TestStickyPlaces: POL-5006. In a directory such as /tmp nobody can rename what is not theirs, and links of our own may
// lead to the state's directory.
func TestStickyPlaces(t *testing.T) {
	path := place(t)
	sticky := filepath.Join(filepath.Dir(path), "sticky")
	if err := errors.Join(os.Mkdir(sticky, 0o700), os.Mkdir(sticky+"/own", 0o700), os.Symlink("sticky/own", filepath.Dir(path)+"/link")); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, sticky, 0o777|os.ModeSticky)
	path = filepath.Dir(path) + "/link/state"
	if err := Raise(t.Context(), path, one(7), true); err != nil {
		t.Fatal(err)
	}
	holds(t, path, 7)
}

func chmod(t *testing.T, path, name string, mode os.FileMode) string {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCrashAtEveryStep stops the machine between any two steps of a write, the temporary file torn or not: what is read
// after is the old state or the new one, and the next write works.
func TestCrashAtEveryStep(t *testing.T) {
	errCrash := errors.New("crash")
	var names []string
	for stop := 0; ; stop++ {
		path := place(t, 7)
		step := 0
		err := ownfile.Replace(path, one(8).marshal(), func(name string, do func() error) error {
			if step == stop {
				return errCrash
			}
			step++
			if stop == 0 || step == stop {
				names = append(names, name)
			}
			return do()
		})
		if err == nil {
			break
		}
		t.Run(fmt.Sprintf("POL-5007 before step %d", stop+1), func(t *testing.T) {
			if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			want := uint64(7)
			if stop > slices.Index(names, "rename") && slices.Contains(names, "rename") {
				want = 8
			}
			holds(t, path, want)
			if err := os.WriteFile(path+".tmp", []byte("secrets-policy-state/v1 na"), 0o600); err != nil { // torn
				t.Fatal(err)
			}
			holds(t, path, want)
			if err := Raise(t.Context(), path, one(9), false); err != nil {
				t.Fatal(err)
			}
			holds(t, path, 9)
		})
	}
	// What is not on the disk before it gets its name may be empty after a power failure.
	if got := strings.Join(names, ", "); got != "create, write, sync, close, rename, sync directory" {
		t.Errorf("POL-5007: the steps are %s", got)
	}
}

// TestMain lets a copy of this test raise revisions until it is killed.
func TestMain(m *testing.M) {
	path := os.Getenv("STATEFILE_TEST_RAISE")
	if path == "" {
		os.Exit(m.Run())
	}
	for {
		s, err := Read(path)
		if err == nil {
			s.Revision++
			err = Raise(context.Background(), path, s, false)
		}
		if err != nil && !errors.Is(err, ErrOlder) {
			fmt.Println("error", err)
			os.Exit(1)
		}
		if err == nil {
			fmt.Println(s.Revision)
		}
	}
}

// TestKilledAtAnyMoment: of several processes that raise the revision and are killed, what one has said to be recorded
// is recorded, and the file is whole.
func TestKilledAtAnyMoment(t *testing.T) {
	path := place(t, 1)
	highest := uint64(1)
	for range 12 {
		var children []*exec.Cmd
		var outputs []*bytes.Buffer
		for range 2 {
			cmd, out := exec.Command(os.Args[0]), new(bytes.Buffer)
			cmd.Env = append(os.Environ(), "STATEFILE_TEST_RAISE="+path)
			cmd.Stdout = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			children, outputs = append(children, cmd), append(outputs, out)
		}
		for s := one(highest); s.Revision <= highest+3; { // they run
			var err error
			if s, err = Read(path); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range children {
			c.Process.Kill()
			c.Wait()
		}
		for _, out := range outputs {
			highest = max(highest, lastNumber(t, out.String()))
		}
		s, err := Read(path)
		if err != nil || s.Revision < highest || s.Revision > highest+2 {
			t.Fatalf("POL-5007: %d was recorded, then %+v is read, %v", highest, s, err)
		}
		highest = s.Revision
	}
	t.Logf("%d revisions", highest)
}

func lastNumber(t *testing.T, out string) (n uint64) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		v, err := strconv.ParseUint(lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("a child says %q", lines.Text())
		}
		if v <= n {
			t.Fatalf("POL-5006: %d was recorded after %d", v, n)
		}
		n = v
	}
	return n
}

func TestTheLockIsWaitedForAsLongAsTheContextAllows(t *testing.T) {
	path := place(t, 1)
	unlock, err := ownfile.Lock(t.Context(), path+".lock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := Raise(ctx, path, one(2), false); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrState) {
		t.Errorf("POL-5006: %v", err)
	}
	holds(t, path, 1)
	if err := Raise(ctx, path, one(1), false); err != nil { // nothing to write
		t.Error(err)
	}
	unlock()
	if err := Raise(t.Context(), path, one(2), false); err != nil {
		t.Error(err)
	}
	holds(t, path, 2)
}
