//go:build linux && !race

package secret_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/secret"
)

var (
	scanName           = secret.AddChild("scan", scanChild)
	scanDerivationName = secret.AddChild("scan derivation", scanDerivationChild)
)

// What the child holds exists nowhere as a whole: parent and child compute it byte by byte, from the same functions.
func digitAt(i int) byte { return "0123456789abcdef"[(i*i*11+i*7+i/5+6)%16] }
func keyAt(i int) byte   { return byte(i*i*29 + i*83 + i/3 + 91) }
func tokenAt(i int) byte { return byte(i*i*37 + i*57 + i/7 + 17) }

const tokenSize = 50

// keyTextAt is the base64 spelling of the key of keyAt, with its padding.
func keyTextAt(i int) byte {
	if i == 43 {
		return '='
	}
	group := uint32(keyAt(i/4*3)) << 16
	if i/4*3+1 < secret.KeySize {
		group |= uint32(keyAt(i/4*3+1)) << 8
	}
	if i/4*3+2 < secret.KeySize {
		group |= uint32(keyAt(i/4*3 + 2))
	}
	return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[group>>(18-6*(i%4))&63]
}

func materialize(n int, at func(int) byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = at(i)
	}
	return b
}

func fillFrom(at func(int) byte) func([]byte) (int, error) {
	return func(b []byte) (int, error) {
		for i := range b {
			b[i] = at(i)
		}
		return len(b), nil
	}
}

// forms is every run of eight bytes in every form of what is searched.
type forms map[uint64]string

func (f forms) add(name string, text []byte) {
	for i := 0; i+8 <= len(text); i++ {
		f[binary.LittleEndian.Uint64(text[i:])] = name
	}
}

func (f forms) addAll(name string, b []byte) {
	xor := func(mask byte) []byte {
		out := bytes.Clone(b)
		for i := range out {
			out[i] ^= mask
		}
		return out
	}
	f.add(name+" in hex", []byte(hex.EncodeToString(b)))
	f.add(name+" in hex", bytes.ToUpper([]byte(hex.EncodeToString(b))))
	for skip := range 3 {
		f.add(name+" in base64", []byte(base64.RawStdEncoding.EncodeToString(b[skip:])))
		f.add(name+" in base64", []byte(base64.RawURLEncoding.EncodeToString(b[skip:])))
	}
	f.add(name+" with ipad", xor(0x36))
	f.add(name+" with opad", xor(0x5c))
	f.add(name, b)
}

// memory is what a scan found: how often each form, inside the mappings that hold secrets and outside of them.
type memory struct {
	inside, outside  map[string]int
	size, unreadable int
}

// scan reads the whole memory of a process. arena is addresses whose mappings count as inside.
func scan(t *testing.T, pid int, arena []uintptr, f forms) memory {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var maybe [1 << 16]bool // most places fail here
	for window := range f {
		maybe[uint16(window)] = true
	}
	const page = 4096
	zeros := make([]byte, page)
	m := memory{inside: map[string]int{}, outside: map[string]int{}}
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %s ", &from, &to, &perms); n != 3 || perms[0] != 'r' {
			continue
		}
		found := m.outside
		for _, a := range arena {
			if from <= a && a < to {
				found = m.inside
			}
		}
		text := make([]byte, to-from)
		n, err := mem.ReadAt(text, int64(from))
		if err != nil { // secretmem and the kernel's own pages
			m.unreadable++
		}
		m.size += n
		for i := 0; i+8 <= n; i++ {
			if i%page == 0 && i+page <= n && bytes.Equal(text[i:i+page], zeros) {
				i += page - 8 // most pages were never used; the last windows reach into the next one
				continue
			}
			if window := binary.LittleEndian.Uint64(text[i:]); maybe[uint16(window)] {
				if name, ok := f[window]; ok {
					found[name]++
				}
			}
		}
	}
	return m
}

// child is a process that stops at each line it prints, until it is told to go on.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startScanned(t *testing.T, name string, restrict func() error) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := secret.StartChild(cmd, name, restrict); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the child: %v", err)
		}
	})
	return &child{t, cmd, in, bufio.NewReader(out)}
}

// next lets the child go on to the next stop and returns the line it prints there.
func (c *child) next(want string) string {
	c.t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, want) {
		c.t.Fatalf("the child says %q, want %q (error %v)", line, want, err)
	}
	return strings.TrimPrefix(line, want)
}

func (c *child) goOn() {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		c.t.Fatal(err)
	}
}

func stop(what string, rest ...any) error {
	fmt.Println(append([]any{what}, rest...)...)
	_, err := os.Stdin.Read(make([]byte, 1))
	return err
}

func addresses(t *testing.T, line string) (level secret.Level, arena []uintptr) {
	t.Helper()
	words := strings.Fields(line)
	for _, w := range words[1:] {
		var a uintptr
		if _, err := fmt.Sscan(w, &a); err != nil {
			t.Fatal(err)
		}
		arena = append(arena, a)
	}
	return secret.Level(words[0]), arena
}

// TestMemoryScan: SM-SEC-5001, SM-THREAT-2001, and the attack case "memory after close": a process that holds secrets, and
// did everything with them that this package offers, has no eight bytes of them outside the arena, and none at all after
// Close. At the best level nobody reads the arena from outside, not even by ptrace.
func TestMemoryScan(t *testing.T) {
	f := forms{}
	digits := materialize(64, digitAt)
	decoded, err := hex.DecodeString(string(digits))
	if err != nil {
		t.Fatal(err)
	}
	f.addAll("the hex key", decoded)
	f.addAll("the base64 key", materialize(secret.KeySize, keyAt))
	text := materialize(44, keyTextAt)
	f.addAll("the text of the base64 key", text)
	f.addAll("the secret", digits)
	if base64.StdEncoding.EncodeToString(materialize(secret.KeySize, keyAt)) != string(text) {
		t.Fatal("keyTextAt does not spell keyAt")
	}
	for name, restrict := range map[string]func() error{
		"at the best level":      secret.Unrestricted,
		"under a seccomp filter": secret.UnderFilter,
	} {
		t.Run("SM-SEC-5001 "+name, func(t *testing.T) { scanOnce(t, restrict, f) })
	}
}

func scanOnce(t *testing.T, restrict func() error, f forms) {
	c := startScanned(t, scanName, restrict)
	pid := c.cmd.Process.Pid

	level, arena := addresses(t, c.next("live"))
	live := scan(t, pid, arena, f)
	t.Logf("level %s: %d bytes read, %d mappings not readable; while alive: inside %v", level, live.size, live.unreadable, live.inside)
	if live.size < 1<<20 || len(arena) < 4 {
		t.Fatalf("%d bytes read, %d addresses", live.size, len(arena))
	}
	if len(live.outside) > 0 {
		t.Errorf("SM-THREAT-2001: outside the arena: %v", live.outside)
	}
	if level == secret.LevelMemfdSecret {
		if len(live.inside) > 0 {
			t.Errorf("SM-THREAT-2001: the arena can be read from outside: %v", live.inside)
		}
	} else {
		for _, name := range []string{"the secret", "the hex key", "the base64 key", "the text of the base64 key"} {
			if live.inside[name] == 0 {
				t.Errorf("control: %s is not found in the arena", name)
			}
		}
	}
	c.goOn()

	c.next("closed")
	if after := scan(t, pid, arena, f); len(after.inside)+len(after.outside) > 0 {
		t.Errorf("SM-SEC-5001: after Close: inside %v, outside %v", after.inside, after.outside)
	}
	c.goOn()

	c.next("exposed")
	control := scan(t, pid, nil, f)
	if control.outside["the secret"] < 57 {
		t.Errorf("control: a plain string is not found: %v", control.outside)
	}
	c.goOn()
}

func scanChild() error {
	s, err := secret.New(64, fillFrom(digitAt))
	if err != nil {
		return err
	}
	same, err := secret.New(64, fillFrom(digitAt))
	if err != nil {
		return err
	}
	text, err := secret.New(44, fillFrom(keyTextAt))
	if err != nil {
		return err
	}
	hexKey, err := secret.DecodeKey(s, secret.Hex)
	if err != nil {
		return err
	}
	base64Key, err := secret.DecodeKey(text, secret.Base64)
	if err != nil {
		return err
	}
	var at []any
	address := func(b []byte) error {
		at = append(at, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
		return nil
	}
	errs := []error{
		s.Use(address), same.Use(address), text.Use(address), hexKey.Use(address), base64Key.Use(address),
		useEverything(s, same, hexKey, base64Key),
		stop("live", append([]any{s.Level()}, at...)...),
		s.Close(), same.Close(), text.Close(), hexKey.Close(), base64Key.Close(),
		stop("closed"),
	}
	again, err := secret.New(64, fillFrom(digitAt))
	if err != nil {
		return err
	}
	plain, err := again.Expose()
	errs = append(errs, err, again.Close(), stop("exposed"))
	runtime.KeepAlive(plain)
	return errors.Join(errs...)
}

func useEverything(s, same *secret.Secret, keys ...*secret.Key) error {
	for range 100 {
		err := same.Use(func(b []byte) error {
			if !s.VerifyBytes(b) || s.VerifyBytes(b[1:]) || s.Verify("a guess") {
				return errors.New("wrong verification")
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range keys {
			mac, err := k.Sign([]byte("message"))
			if err != nil {
				return err
			}
			if !k.VerifyMAC([]byte("message"), mac) {
				return errors.New("does not verify")
			}
		}
	}
	_ = fmt.Sprintf("%v %+v %#v", s, same, keys)
	return nil
}

// TestMemoryScanDerivation: SM-LOAD-4003, DESIGN's stated exception: crypto/hkdf computes on the Go heap. The token is
// nowhere outside the arena. What is left of the intermediate key and of the output is listed, and must be gone under
// GOEXPERIMENT=runtimesecret once it has been collected.
func TestMemoryScanDerivation(t *testing.T) {
	token := materialize(tokenSize, tokenAt)
	extract := hmac.New(sha256.New, make([]byte, sha256.Size))
	extract.Write(token)
	prk := extract.Sum(nil)
	expand := hmac.New(sha256.New, prk)
	expand.Write([]byte(kdf.SealKeyV1 + "\x01"))
	f := forms{}
	f.addAll("the intermediate key", prk)
	f.addAll("the derived key", expand.Sum(nil))
	f.addAll("the token", token)

	c := startScanned(t, scanDerivationName, secret.UnderFilter)
	pid := c.cmd.Process.Pid
	_, arena := addresses(t, c.next("live"))
	live := scan(t, pid, arena, f)
	c.goOn()
	c.next("closed")
	after := scan(t, pid, arena, f)
	t.Logf("runtimesecret %v: outside the arena, in runs of eight bytes: while alive %v, after Close %v", runtimeSecret, live.outside, after.outside)
	c.goOn()
	c.next("exposed")
	control := scan(t, pid, nil, f)
	c.goOn()

	for name, n := range live.outside {
		if strings.HasPrefix(name, "the token") || runtimeSecret {
			t.Errorf("SM-THREAT-2001: while alive %s is outside the arena: %d", name, n)
		}
	}
	for name, n := range after.outside {
		if strings.HasPrefix(name, "the token") || runtimeSecret {
			t.Errorf("SM-SEC-5001: after Close %s is outside the arena: %d", name, n)
		}
	}
	if len(after.inside) > 0 {
		t.Errorf("SM-SEC-5001: after Close in the arena: %v", after.inside)
	}
	if live.inside["the token"] == 0 || live.inside["the derived key"] == 0 || control.outside["the token"] == 0 {
		t.Errorf("control: not found: %v, %v", live.inside, control.outside)
	}
}

func scanDerivationChild() error {
	token, err := secret.New(tokenSize, fillFrom(tokenAt))
	if err != nil {
		return err
	}
	key, err := kdf.Derive(token, kdf.SealKeyV1)
	if err != nil {
		return err
	}
	var at []any
	address := func(b []byte) error {
		at = append(at, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
		return nil
	}
	errs := []error{token.Use(address), key.Use(address)}
	for range 3 {
		runtime.GC() // what runtime/secret erases, it erases when it is collected
	}
	errs = append(errs, stop("live", append([]any{token.Level()}, at...)...), key.Close(), token.Close(), stop("closed"))

	again, err := secret.New(tokenSize, fillFrom(tokenAt))
	if err != nil {
		return err
	}
	plain, err := again.Expose()
	errs = append(errs, err, again.Close(), stop("exposed"))
	runtime.KeepAlive(plain)
	return errors.Join(errs...)
}
