package remote

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/internal/mountns"
)

func TestMain(m *testing.M) { os.Exit(mountns.Main(m)) }

// TestFullDisk: POL-3518. On a disk that is really full the new policy is in force and the old pair stays whole; with room
// again the new one is kept, and nothing that did not fit is left.
func TestFullDisk(t *testing.T) {
	if !mountns.Own(t, os.Executable) {
		return
	}
	s := newSite(t)
	c := s.config()
	must(t, os.Mkdir("/mnt/small", 0o700), unix.Mount("tmpfs", "/mnt/small", "tmpfs", 0, "size=2m,mode=0700"))
	c.Cache = "/mnt/small"
	w := begin(t, c)
	at(t, w.Status(), 1, nil)
	must(t, fill("/mnt/small/filler"))
	s.publish(2)
	at(t, again(t, w), 2, ErrCache)
	if now := again(t, w); !errors.Is(now.Err, syscall.ENOSPC) {
		t.Errorf("full: %v", now.Err)
	}
	must(t, os.Remove("/mnt/small/filler"))
	onlyPair(t, c.Cache, 1)
	at(t, again(t, w), 2, nil)
	onlyPair(t, c.Cache, 2)
	t.Run("a full disk for the state too", func(t *testing.T) {
		must(t, os.Mkdir("/mnt/small/state", 0o700), os.Mkdir("/mnt/small/cache", 0o700))
		c := restarted(t, c)
		c.Cache, c.Verifier.StateFile = "/mnt/small/cache", "/mnt/small/state/state"
		w := begin(t, c)
		at(t, w.Status(), 2, nil)
		must(t, fill("/mnt/small/filler"))
		s.publish(3)
		now := again(t, w) // what cannot be recorded is not in force, as everywhere
		at(t, now, 2, syscall.ENOSPC)
		if r, err := offline(t, c); r != 2 || err != nil {
			t.Errorf("after a restart: revision %d, %v", r, err)
		}
		must(t, os.Remove("/mnt/small/filler"))
		at(t, again(t, w), 3, nil)
		if r, err := offline(t, c); r != 3 || err != nil {
			t.Errorf("after a restart: revision %d, %v", r, err)
		}
	})
	if fi, err := os.Stat(filepath.Join(c.Cache, lockName)); err != nil || fi.Size() != 0 {
		t.Errorf("%v, %v", fi, err)
	}
}

// fill writes until there is no room.
func fill(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return nil
			}
			return err
		}
	}
}
