package sandbox

import (
	"runtime"
	"testing"
	"unsafe"
)

// TestGuestMemory: memory keeps its content as it grows, is zero where it is new and ends at the limit, whether addresses
// could be reserved or not.
func TestGuestMemory(t *testing.T) { // POL-6006
	limits := Limits{DataBytes: 1 << 20, GrowthBytes: 1 << 20}
	onHeap := newGuestMemory(limits)
	onHeap.unreserve()
	for name, g := range map[string]*guestMemory{"reserved": newGuestMemory(limits), "on the heap": onHeap} {
		t.Run(name, func(t *testing.T) {
			defer g.Free()
			reserved := name == "reserved" && runtime.GOOS == "linux"
			if (g.space != nil) != reserved {
				t.Fatal("the addresses are not where they should be")
			}
			b := g.Reallocate(pageBytes)
			b[0], b[pageBytes-1] = 1, 2
			first := unsafe.SliceData(b)
			for pages := 2; pages <= 16; pages++ {
				if b = g.Reallocate(uint64(pages) * pageBytes); len(b) != pages*pageBytes || b[0] != 1 || b[pageBytes-1] != 2 || b[len(b)-1] != 0 {
					t.Fatalf("%d pages: %d bytes", pages, len(b))
				}
			}
			if reserved && (unsafe.SliceData(b) != first || cap(b) != len(b)) {
				t.Error("it moved, or reaches beyond its length")
			}
			if g.refused {
				t.Error("a growth was refused")
			}
			if g.Reallocate(17*pageBytes) != nil || !g.refused {
				t.Error("it grew beyond the limit")
			}
			if g.limit = 1 << 40; reserved && g.Reallocate(1<<21+pageBytes) != nil {
				t.Error("it grew beyond what is reserved")
			}
		})
	}
	g := newGuestMemory(limits)
	g.Reallocate(pageBytes)
	g.Free()
	g.Free()
}
