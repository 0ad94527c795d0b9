package auditlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// A child does what childVar says to the log at pathVar.
const (
	childVar = "SECRETS_MANAGEMENT_TEST_AUDITLOG"
	pathVar  = "SECRETS_MANAGEMENT_TEST_AUDITLOG_PATH"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childVar); what != "" {
		if err := children()[what](os.Getenv(pathVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(asnobody.Main(m))
}

const perWriter, writersPerChild = 60, 3

func children() map[string]func(path string) error {
	return map[string]func(path string) error{
		"many":    appendMany,
		"forever": func(path string) error { return appendUntil(path, func() bool { return false }) },
		"small":   appendSmall,
	}
}

// appendMany writes from several goroutines and over two descriptors.
func appendMany(path string) error {
	one, err := Open(path, false)
	if err != nil {
		return err
	}
	two, err := Open(path, false)
	if err != nil {
		return err
	}
	errs := make(chan error, writersPerChild)
	for w := range writersPerChild {
		go func() {
			var err error
			for i := range perWriter {
				l := one
				if i%2 == 0 {
					l = two
				}
				// Lines of very different lengths, up to many pages.
				err = errors.Join(err, l.Append(context.Background(), entry(fmt.Sprintf("%d/%d/%d", os.Getpid(), w, i), 1<<(i%17))))
			}
			errs <- err
		}()
	}
	for range writersPerChild {
		err = errors.Join(err, <-errs)
	}
	return errors.Join(err, one.Close(), two.Close())
}

func appendUntil(path string, done func() bool) error {
	l, err := Open(path, false)
	if err != nil {
		return err
	}
	for i := 0; !done(); i++ {
		if err := l.Append(context.Background(), entry(strconv.Itoa(i), 3000)); err != nil {
			return err
		}
	}
	return l.Close()
}

func entry(id string, size int) []byte {
	return fmt.Appendf(nil, `{"decision_id":%q,"error":%q}`, id, strings.Repeat("e", size))
}

func child(t *testing.T, what, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+what, pathVar+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func add(t *testing.T, l *Log, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := l.Append(context.Background(), entry(id, 10)); err != nil {
			t.Fatal(err)
		}
	}
}

// check verifies the files of a log and its head file.
func check(t *testing.T, paths ...string) *Verifier {
	t.Helper()
	v := NewVerifier(Head{}, Head{})
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Read(p, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(paths[len(paths)-1] + HeadSuffix)
	if err != nil {
		t.Fatal(err)
	}
	head, ok := RecordedHead(b)
	if !ok {
		t.Errorf("the head file says %q", b)
	}
	v.Finish(head)
	return v
}

func intact(t *testing.T, entries int, paths ...string) {
	t.Helper()
	if v := check(t, paths...); v.Entries != entries || len(v.Findings) != 0 {
		t.Errorf("%d entries, want %d; %+v", v.Entries, entries, v.Findings)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyWriters: AUD-1004. Goroutines, descriptors and processes append to one log, and it is one chain of whole lines.
func TestManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const processes = 4
	var all []*exec.Cmd
	for range processes {
		cmd := child(t, "many", path)
		must(t, cmd.Start())
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	intact(t, processes*writersPerChild*perWriter, path)
}

// TestRotation: AUD-1005. The log is renamed away under its writers, again and again, and the chain goes on.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a, b := child(t, "forever", path), child(t, "forever", path)
	must(t, errors.Join(a.Start(), b.Start()))
	var files []string
	for i := range 10 {
		grows(t, path, 20_000)
		files = append(files, fmt.Sprintf("%s.%02d", path, i))
		must(t, os.Rename(path, files[i]))
	}
	grows(t, path, 1)
	must(t, errors.Join(a.Process.Kill(), b.Process.Kill()))
	_, _ = a.Process.Wait()
	_, _ = b.Process.Wait()
	add(t, open(t, path), "last")
	if v := check(t, append(files, path)...); !v.Intact() || v.Entries < 50 || v.Files[9].Entries == 0 {
		t.Errorf("%d entries, %+v", v.Entries, v.Findings)
	}
}

// grows waits until a log has this many bytes.
func grows(t *testing.T, path string, size int64) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if fi, err := os.Stat(path); err == nil && fi.Size() >= size {
			return
		}
	}
	t.Fatal("nobody writes")
}

// TestRestarts: AUD-1005. The chain survives what happens to a service and its log.
func TestRestarts(t *testing.T) {
	for name, between := range map[string]func(t *testing.T, path string) (files []string){
		"AUD-1005 a restart": func(*testing.T, string) []string { return nil },
		"AUD-1005 rotated while nobody ran": func(t *testing.T, path string) []string {
			must(t, os.Rename(path, path+".1"))
			return []string{path + ".1"}
		},
		"AUD-1005 the head file is lost": func(t *testing.T, path string) []string {
			must(t, os.Remove(path+HeadSuffix))
			return nil
		},
		"AUD-1005 half of the head file": func(t *testing.T, path string) []string {
			must(t, os.Truncate(path+HeadSuffix, 50))
			return nil
		},
		"AUD-1005 another number in the head file": func(t *testing.T, path string) []string {
			b, err := os.ReadFile(path + HeadSuffix)
			must(t, err)
			must(t, os.WriteFile(path+HeadSuffix, bytes.Replace(b, []byte("3 "), []byte("9 "), 1), 0o600))
			return nil
		},
		"AUD-1005 the head file is behind": func(t *testing.T, path string) []string {
			b, err := os.ReadFile(path + HeadSuffix)
			must(t, err)
			add(t, open(t, path), "unnoticed")
			must(t, os.WriteFile(path+HeadSuffix, b, 0o600))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l := open(t, path)
			add(t, l, "1", "2", "3")
			must(t, l.Close())
			files := between(t, path)
			want := 5
			if strings.Contains(name, "behind") {
				want++
			}
			add(t, open(t, path), "4", "5")
			intact(t, want, append(files, path)...)
		})
	}
}

// TestWhatIsGoneShows: AUD-1003, AUD-1005. A log that lost entries while nobody looked does not close over the gap.
func TestWhatIsGoneShows(t *testing.T) {
	for name, do := range map[string]func(path string, b []byte) error{
		"the end cut off": func(p string, b []byte) error {
			return os.Truncate(p, int64(bytes.LastIndexByte(b[:len(b)-1], '\n'))+1)
		},
		"the end cut off in a line":  func(p string, b []byte) error { return os.Truncate(p, int64(len(b)-20)) },
		"emptied":                    func(p string, _ []byte) error { return os.Truncate(p, 0) },
		"removed":                    func(p string, _ []byte) error { return os.Remove(p) },
		"removed with its head file": func(p string, _ []byte) error { return errors.Join(os.Remove(p), os.Remove(p+HeadSuffix)) },
		"put back to what it was": func(p string, b []byte) error {
			first := b[:bytes.IndexByte(b, '\n')+1]
			l, _ := parse(first[:len(first)-1])
			return errors.Join(os.WriteFile(p, first, 0o600), os.WriteFile(p+HeadSuffix, []byte(state{l.Head, int64(len(first))}.String()), 0o600))
		},
		"one taken out in the middle": func(p string, b []byte) error { return os.WriteFile(p, b[bytes.IndexByte(b, '\n')+1:], 0o600) },
	} {
		t.Run("AUD-1003 "+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l := open(t, path)
			add(t, l, "1", "2", "3")
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, do(path, b))
			add(t, l, "4")
			if v := check(t, path); v.Intact() || v.Head.Seq != 4 {
				t.Errorf("intact %v, %+v", v.Intact(), v.Findings)
			}
		})
	}
}

// TestKilledWriters: AUD-1005. Processes are killed in the middle of their work; the log stays a chain.
func TestKilledWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for i := range 12 {
		a, b := child(t, "forever", path), child(t, "forever", path)
		must(t, errors.Join(a.Start(), b.Start()))
		grows(t, path, int64(i+1)*50_000)
		must(t, errors.Join(a.Process.Kill(), b.Process.Kill()))
		_, _ = a.Process.Wait()
		_, _ = b.Process.Wait()
	}
	add(t, open(t, path), "last")
	if v := check(t, path); !v.Intact() || v.Entries < 100 {
		t.Errorf("%d entries, %+v", v.Entries, v.Findings)
	}
}

// TestHalfALine: AUD-1005. What a write left that went wrong does not spoil the next entry, and the next entry tells of it.
func TestHalfALine(t *testing.T) {
	for name, half := range map[string]string{
		"AUD-1005 half a line":           `{"seq":3,"prev":"00`,
		"AUD-1005 two halves":            `{"seq":3,"prev":"00` + "\n" + `{"seq":3,"pr`,
		"AUD-1005 a half with its end":   `{"seq":3,"prev":"00` + "\n",
		"AUD-1005 zeros, as after power": strings.Repeat("\x00", 100),
	} {
		for _, known := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.jsonl")
				l := open(t, path)
				add(t, l, "1", "2")
				appendTo(t, path, half)
				if !known {
					must(t, os.Remove(path+HeadSuffix))
				}
				must(t, l.Check(context.Background()))
				add(t, l, "3", "4")
				v := check(t, path)
				if !v.Intact() || v.Entries != 4 || !slices.Equal(v.rules(), []string{RuleTorn}) {
					t.Errorf("%d entries, %+v", v.Entries, v.Findings)
				}
			})
		}
	}
	t.Run("AUD-1005 of the first entry", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		must(t, os.WriteFile(path, []byte(`{"se`), 0o600))
		add(t, open(t, path), "1")
		if v := check(t, path); !v.Intact() || v.Entries != 1 {
			t.Errorf("%d entries, %+v", v.Entries, v.Findings)
		}
	})
	t.Run("AUD-1005 before an entry of many pages", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		l := open(t, path)
		must(t, l.Append(context.Background(), entry("1", 3*firstWindow)))
		appendTo(t, path, strings.Repeat("x", firstWindow))
		must(t, os.Remove(path+HeadSuffix))
		add(t, l, "2")
		if v := check(t, path); !v.Intact() || v.Entries != 2 {
			t.Errorf("%d entries, %+v", v.Entries, v.Findings)
		}
	})
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// TestOpenRefuses: AUD-1002. A log that others could read or write is none, nor is a file of another kind; the head file
// is judged like the log.
func TestOpenRefuses(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a link":          func(p string) error { return errors.Join(os.WriteFile(p+".to", nil, 0o600), os.Symlink(p+".to", p)) },
		"a dangling link": func(p string) error { return os.Symlink(p+".to", p) },
		"readable":        func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chmod(p, 0o640)) },
		"a second name":   func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Link(p, p+".second")) },
		"a directory":     func(p string) error { return os.Mkdir(p, 0o700) },
		"foreign": func(p string) error {
			if !asnobody.Root(t) {
				return os.Mkdir(p, 0o700)
			}
			return errors.Join(os.WriteFile(p, nil, 0o600), os.Chown(p, 12345, 0))
		},
	} {
		for _, suffix := range []string{"", HeadSuffix} {
			t.Run("AUD-1002 "+name+suffix, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "audit.jsonl")
				must(t, make(path+suffix))
				if l, err := Open(path, false); err == nil {
					t.Errorf("opened %v", l)
				}
			})
		}
		t.Run("AUD-1002 put in its place: "+name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			l := open(t, path)
			add(t, l, "1")
			must(t, os.Rename(path, path+".1"))
			must(t, make(path))
			if err := l.Append(context.Background(), entry("2", 1)); err == nil {
				t.Error("it took an entry")
			}
			if err := l.Check(context.Background()); err == nil {
				t.Error("it is said to be well")
			}
		})
	}
	for name, content := range map[string]string{
		"AUD-1002 a log of another kind": "{\"decision_id\":\"1\"}\n", "AUD-1002 text": "hello\n", "AUD-1002 one byte": "x",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			must(t, os.WriteFile(path, []byte(content), 0o600))
			if _, err := Open(path, false); !errors.Is(err, ErrForeign) {
				t.Errorf("error %v", err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != content {
				t.Errorf("it is %q now", b)
			}
		})
	}
	t.Run("AUD-1002 its folder does not exist", func(t *testing.T) {
		if _, err := Open(filepath.Join(t.TempDir(), "no", "such"), false); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
}

// TestOpenMakes: AUD-1002. Both files are the service's alone, whatever the umask grants, and a closed log takes nothing.
func TestOpenMakes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, true)
	must(t, err)
	add(t, l, "1", "2")
	for _, p := range []string{path, path + HeadSuffix} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, fi.Mode(), err)
		}
	}
	intact(t, 2, path)
	must(t, l.Close())
	for what, err := range map[string]error{
		"append": l.Append(context.Background(), entry("3", 1)), "check": l.Check(context.Background()), "close": l.Close(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLockIsNotWaitedForForever: AUD-1004. A writer that stopped while it held the lock stops no other for good.
func TestLockIsNotWaitedForForever(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	add(t, l, "1")
	f, err := os.OpenFile(path+HeadSuffix, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if got, err := tryLock(f); !got || err != nil {
		t.Fatal(got, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := l.Append(ctx, entry("2", 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	start := time.Now()
	if err := l.Append(context.Background(), entry("2", 1)); !errors.Is(err, ErrLocked) || time.Since(start) > 2*lockWait {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
	must(t, unlock(f))
	add(t, l, "2")
	intact(t, 2, path)
}

// TestHeadFileIsReplaced: AUD-1004. Two writers that lock different files would not see each other.
func TestHeadFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	one, two := open(t, path), open(t, path)
	add(t, one, "1")
	must(t, os.Rename(path+HeadSuffix, path+".old"))
	var wg sync.WaitGroup
	for _, l := range []*Log{one, two, open(t, path)} {
		wg.Go(func() {
			for i := range 50 {
				if err := l.Append(context.Background(), entry(strconv.Itoa(i), 100)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	intact(t, 151, path)
}

// TestRelativePath: AUD-1003. The log stays where it was opened when the process changes its directory.
func TestRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	l := open(t, "audit.jsonl")
	add(t, l, "1")
	elsewhere := t.TempDir()
	t.Chdir(elsewhere)
	add(t, l, "2")
	intact(t, 2, filepath.Join(dir, "audit.jsonl"))
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

// TestNoFolder: AUD-1002. Nobody makes the folder of a log but who knows whose it must be.
func TestNoFolder(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none", "audit.jsonl"), false)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "create its folder, for the service to write to") {
		t.Errorf("error %v", err)
	}
}
