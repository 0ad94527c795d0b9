package systemd

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

const (
	maxMemory = 64 << 20         // bytes
	maxTime   = 20 * time.Second // a fraction of a second on a machine with nothing else to do
	maxUnit   = 1 << 20          // what is read of a file
)

// peak is the most that the heap held while f ran, beyond what it held before: looked at all the time, with a collector
// that lets little garbage lie around.
func peak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before, most := heap(), uint64(0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		most = max(most, heap())
		select {
		case <-done:
			return most - min(before, most)
		default:
			time.Sleep(time.Millisecond)
		}
	}
}

// measured reads a unit, and fails when that takes too much.
func measured(t *testing.T, u Unit) {
	t.Helper()
	start := time.Now()
	var loads []descriptor.Load
	used := peak(func() { loads, _ = Read(u) })
	if used > maxMemory {
		t.Errorf("%d MiB are in use for a unit of %d bytes with %d loads", used>>20, len(u.Files[0].Data), len(loads))
	}
	if took := time.Since(start); took > maxTime {
		t.Errorf("it took %v", took)
	}
}

// The largest units of nothing but one thing take no more than their share.
// Evidence for CHK-1056.
func TestCHK1056Memory(t *testing.T) {
	for name, line := range map[string]string{
		"load": "LoadCredential=%d:/x", "set": "SetCredential=%d:v", "import": "ImportCredential=%d", "unknown": "XCredential%d=", "ignored": "SetCredential=%d",
		"short": "SetCredential=\nImportCredential=%d", "specifier": "LoadCredential=%%%d:%%%%%%", "escapes": `SetCredential=%d:\x41\x41`, "store": "LoadCredential=%d",
		"action": "X-Secretcheck-Action=a%d:load_key", "bad_action": "X-Secretcheck-Action=%d", "continued": "LoadCredential=%d:\\\n/x", "space": "LoadCredential=%d x:/y",
		"section": "[%d]", "comment": "#%d", "empty": "", "paths": "LoadCredential=%d:" + strings.Repeat("/%n", 14),
		"names": "LoadCredential=%n%d:/x",
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString("[Service]\n")
			for i := 0; b.Len() < maxUnit-100; i++ {
				fmt.Fprintln(&b, strings.Replace(line, "%d", fmt.Sprint(i), 1))
			}
			measured(t, unit(strings.Repeat("u", 240)+".service", b.String()))
		})
	}
}
