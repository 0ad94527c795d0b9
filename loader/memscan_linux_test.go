//go:build !race

package loader_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/llorch/secrets-management/internal/memscan"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

// TestContentStaysOutOfTheHeap: SVC-1006, EXP-PERF-8001. A child loads tokens and keys; whatever its memory holds is
// searched for any eight bytes of them in a row. Nothing may be found but where the secrets themselves are, while they are
// open, and nothing at all once they are closed. The control reads the same files as one usually does.
func TestContentStaysOutOfTheHeap(t *testing.T) {
	const child = "SECRETS_MANAGEMENT_TEST_SCAN"
	if how := os.Getenv(child); how != "" {
		scanned(t, how)
		os.Exit(0)
	}
	for _, how := range []string{"load", "read"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			token, key := make([]byte, 24), make([]byte, 32)
			for _, b := range [][]byte{token, key} {
				if _, err := rand.Read(b); err != nil {
					t.Fatal(err)
				}
			}
			text := []byte(hex.EncodeToString(token))
			if err := errors.Join(os.WriteFile(dir+"/token", append(text, '\n'), 0o600),
				os.WriteFile(dir+"/key", []byte(hex.EncodeToString(key)), 0o600)); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestContentStaysOutOfTheHeap$")
			cmd.Env = append(os.Environ(), child+"="+how, "SECRETS_MANAGEMENT_TEST_DIR="+dir)
			in, err := cmd.StdinPipe()
			out, oerr := cmd.StdoutPipe()
			if err = errors.Join(err, oerr, cmd.Start()); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for _, state := range []string{"open", "closed"} {
				if !lines.Scan() || !strings.HasPrefix(lines.Text(), state) {
					t.Fatalf("the child says %q", lines.Text())
				}
				var arena []uintptr
				for _, field := range strings.Fields(lines.Text())[1:] {
					var at uintptr
					if _, err := fmt.Sscanf(field, "%x", &at); err != nil {
						t.Fatal(err)
					}
					arena = append(arena, at)
				}
				found, err := memscan.Outside(cmd.Process.Pid, arena, text, key, []byte(hex.EncodeToString(key)))
				if err != nil {
					t.Fatal(err)
				}
				if (found > 0) != (how == "read") {
					t.Errorf("%s: %d places", state, found)
				}
				if _, err := fmt.Fprintln(in); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// scanned is the child. It waits twice: with its secrets open and after.
func scanned(t *testing.T, how string) {
	dir := os.Getenv("SECRETS_MANAGEMENT_TEST_DIR")
	w := newWorldIn(t, dir, grantsFor(dir, ""))
	if how == "read" {
		b, err := os.ReadFile(dir + "/token")
		must(w, err)
		stop("open")
		stop("closed")
		runtime.KeepAlive(b)
		return
	}
	ctx := context.Background()
	var secrets []*secret.Secret
	var keys []*secret.Key
	at := "open"
	for range 25 {
		s, err := w.l.LoadSecret(ctx, loader.File(dir+"/absent"), loader.File(dir+"/token"))
		must(w, err)
		k, err := w.l.LoadKey(ctx, loader.File(dir+"/key"))
		must(w, err)
		d, err := w.l.DeriveKey(ctx, "test-purpose-v1", loader.File(dir+"/token"))
		must(w, err)
		note := func(b []byte) error {
			at += fmt.Sprintf(" %x", uintptr(unsafe.Pointer(&b[0])))
			return nil
		}
		must(w, errors.Join(s.Use(note), k.Use(note), d.Use(note)))
		secrets, keys = append(secrets, s), append(keys, k, d)
	}
	stop(at)
	for _, s := range secrets {
		must(w, s.Close())
	}
	for _, k := range keys {
		must(w, k.Close())
	}
	stop("closed")
}

func stop(line string) {
	fmt.Println(line)
	_, _ = bufio.NewReaderSize(os.Stdin, 16).ReadString('\n')
}
