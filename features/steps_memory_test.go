//go:build linux

package features

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"unsafe"

	"github.com/cucumber/godog"

	"github.com/llorch/secrets-management/internal/memscan"
)

// holder is set in the process whose memory is looked at. It names the folder of its secrets and the file to load.
const holder = "SECRETS_MANAGEMENT_TEST_HOLDER"

// memory is in how many places parts of a token were found outside of where secrets are kept, and what the process saw in
// the very place of the token after it had closed it.
type memory struct {
	looked               bool
	kept, closed, copied int
	place                string
}

func (w *world) memorySteps(sc *godog.ScenarioContext) {
	sc.When(`^a process loads the token from the file "([^"]*)", keeps it, and closes it$`, w.lookAtProcess)
	sc.Then(`^nothing of it is left in the memory of the process$`, w.nothingLeft)
}

// lookAtProcess looks at all memory of a process of its own three times: while it keeps the token, after it closed it, and,
// to see that there is something to find, when it has a plain copy.
func (w *world) lookAtProcess(name string) (err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), holder+"="+w.dir+":"+name)
	cmd.Stderr = os.Stderr
	in, ierr := cmd.StdinPipe()
	out, oerr := cmd.StdoutPipe()
	if err := errors.Join(ierr, oerr, cmd.Start()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close(), cmd.Wait()) }()
	lines := bufio.NewScanner(out)
	look := func(says string) (rest string, found int, err error) {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), says+" ") {
			return "", 0, fmt.Errorf("the process says %q, not %q", lines.Text(), says)
		}
		rest = strings.TrimPrefix(lines.Text(), says+" ")
		var at uintptr
		if says == "kept" {
			if _, err := fmt.Sscanf(rest, "%x", &at); err != nil {
				return "", 0, err
			}
		}
		found, err = memscan.Outside(cmd.Process.Pid, []uintptr{at}, w.holds)
		_, werr := io.WriteString(in, "\n")
		return rest, found, errors.Join(err, werr)
	}
	if _, w.memory.kept, err = look("kept"); err != nil {
		return err
	}
	if w.memory.place, w.memory.closed, err = look("closed"); err != nil {
		return err
	}
	_, w.memory.copied, err = look("copied")
	w.memory.looked = true
	return err
}

func (w *world) nothingLeft() error {
	w.asserted = true
	switch m := w.memory; {
	case !m.looked || m.copied == 0:
		return errors.New("control: a plain copy was not found either")
	case m.kept > 0:
		return fmt.Errorf("while it was kept, parts of it were in %d other places", m.kept)
	case m.closed > 0 || m.place != "zeros":
		return fmt.Errorf("parts of it are left in %d places; its own place holds %s", m.closed, m.place)
	}
	return nil
}

// hold is the process that is looked at. Another secret keeps the page of the token from being given back, so that its
// place can be looked at after.
func hold(what string) error {
	dir, name, _ := strings.Cut(what, ":")
	w := &world{dir: dir, grants: map[string][]any{}}
	if err := w.mayLoadFolder("holder"); err != nil {
		return err
	}
	other, err := w.newToken()
	if err != nil {
		return err
	}
	if err := w.write(w.path("other"), other, "0600"); err != nil {
		return err
	}
	load := func(name string) error { return errors.Join(w.load("the service", "token", "file", name), w.err) }
	if err := errors.Join(load("other"), load(name)); err != nil {
		return err
	}
	var place []byte
	if err := w.token.Use(func(b []byte) error { place = b; return nil }); err != nil {
		return err
	}
	fmt.Printf("kept %x\n", uintptr(unsafe.Pointer(unsafe.SliceData(place))))
	if err := proceed(); err != nil {
		return err
	}
	content := "zeros"
	if err := w.token.Close(); err != nil {
		return err
	}
	if !bytes.Equal(place, make([]byte, len(place))) {
		content = "something"
	}
	fmt.Println("closed", content)
	if err := errors.Join(proceed(), load(name)); err != nil {
		return err
	}
	plain, err := w.token.Expose()
	if err != nil {
		return err
	}
	fmt.Println("copied", len(plain))
	err = proceed()
	runtime.KeepAlive(plain)
	return err
}

// proceed waits until the memory was looked at.
func proceed() error {
	_, err := os.Stdin.Read(make([]byte, 1))
	return err
}
