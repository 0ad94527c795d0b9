package facts

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/policy"
)

// A probe is this test binary under another uid or in namespaces of its own: it tries out what the kernel lets it do. It
// lives as long as its test, so that thousands of attempts are a matter of seconds. The variable says what it is.
const probing = "SECRETS_MANAGEMENT_TEST_PROBE"

// probes are what a probe can be. Each answers requests until there are no more.
func probes() map[string]func(in *json.Decoder, out *json.Encoder) error {
	return map[string]func(*json.Decoder, *json.Encoder) error{
		"user":  answer(attempt.try),
		"mount": answer(mounted),
		"owner": answer(opened),
	}
}

func probeMain(what string) int {
	err := probes()[what](json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout))
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func answer[Q, A any](f func(Q) A) func(*json.Decoder, *json.Encoder) error {
	return func(in *json.Decoder, out *json.Encoder) error {
		for {
			var q Q
			if err := in.Decode(&q); err != nil {
				return err
			}
			if err := out.Encode(f(q)); err != nil {
				return err
			}
		}
	}
}

// probe is the test's end of one.
type probe struct {
	in  *json.Encoder
	out *json.Decoder
}

// startProbe gives an error where the system does not let it be what attr asks for.
func startProbe(t *testing.T, what string, attr *syscall.SysProcAttr) (*probe, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // the way to it may be closed to other users
	cmd.Env = []string{probing + "=" + what}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("probe %s: %v", what, err)
		}
	})
	return &probe{json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))}, nil
}

func (p *probe) ask(t *testing.T, question, answer any) {
	t.Helper()
	if err := p.in.Encode(question); err != nil {
		t.Fatal(err)
	}
	if err := p.out.Decode(answer); err != nil {
		t.Fatal(err)
	}
}

// attempt is what a probe is to try: a file, and an entry of a directory.
type attempt struct {
	File, Dir, Entry  string // Entry is the path of something in Dir
	FileMode, DirMode uint32 // as they are
}

// granted is what the kernel let it do. Who may change the mode may do everything next.
type granted struct{ Read, Write, Replace bool }

func (a attempt) try() granted {
	opens := func(flag int) bool {
		fd, err := unix.Open(a.File, flag|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err == nil && unix.Close(fd) == nil
	}
	owner := unix.Chmod(a.File, a.FileMode) == nil
	g := granted{Read: owner || opens(unix.O_RDONLY), Write: owner || opens(unix.O_WRONLY)}
	if a.Entry != "" {
		away := a.Entry + "~"
		g.Replace = unix.Chmod(a.Dir, a.DirMode) == nil || unix.Rename(a.Entry, away) == nil && unix.Rename(away, a.Entry) == nil
	}
	return g
}

// user is somebody whom a probe stands for.
type user struct {
	uid    int64
	groups []int64 // the first is the main one
	*probe
}

// start runs a probe under the user's ids, without any capability.
func (u *user) start(t *testing.T) {
	t.Helper()
	c := &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.groups[0])}
	for _, g := range u.groups[1:] {
		c.Groups = append(c.Groups, uint32(g))
	}
	var err error
	if u.probe, err = startProbe(t, "user", &syscall.SysProcAttr{Credential: c}); err != nil {
		t.Fatal(err)
	}
}

func (u *user) tries(t *testing.T, a attempt) (g granted) {
	t.Helper()
	u.ask(t, a, &g)
	return g
}

// listed reports whether the facts name the user.
func (u *user) listed(p policy.Principals) bool {
	listed := p.Everyone
	for _, id := range p.UIDs {
		listed = listed || id == u.uid
	}
	for _, id := range p.GIDs {
		for _, g := range u.groups {
			listed = listed || id == g
		}
	}
	return listed
}

func (u *user) String() string { return fmt.Sprintf("uid %d in groups %d", u.uid, u.groups) }
