package sandbox

import (
	"context"
	"testing"
)

// OPA declares the memory of some policies a page too small for their own constants. They get what those need, and no more
// than Limits.DataBytes.
func TestMemoryHoldsTheConstants(t *testing.T) {
	behind := func(at int64) []byte {
		segment := func(at int64, text string) []byte {
			return cat([]byte{0}, i32const(at), []byte{opEnd}, appendBytes(nil, []byte(text+"\x00")))
		}
		g := asmGuest{sections: map[sectionID][]byte{secData: vec(segment(addrNone, "{}"), segment(addrDeny, denyJSON),
			segment(addrEntry, `{"secrets/load/decision":0,"secrets/load/may_ask":1}`), segment(at, "beyond"))}}
		return g.build()
	}
	for name, c := range map[string]struct {
		at, pages int64
		opens     bool
	}{
		"CHK-1202/within the first page":  {60_000, 1, true},
		"CHK-1202/to its end":             {pageBytes - 7, 1, true},
		"CHK-1202/a byte into the second": {pageBytes - 6, 2, true},
		"CHK-1202/in the third":           {2*pageBytes + 1, 3, true},
		"CHK-1202/beyond the limit":       {4 * pageBytes, 5, false},
		"CHK-1202/at 4 GiB less a byte":   {-1, 65537, false},
	} {
		t.Run(name, func(t *testing.T) {
			module := behind(c.at)
			if got := staticPages(module); got != c.pages {
				t.Errorf("%d pages, want %d", got, c.pages)
			}
			limits, err := Limits{DataBytes: 4 * pageBytes}.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			p, err := Open(context.Background(), module, []byte("{}"), Config{Limits: limits, Interpreter: true, Entrypoints: []string{"secrets/load/decision"}})
			if err == nil {
				defer p.Close()
				var inst *Instance
				if inst, err = p.Acquire(context.Background()); err == nil {
					p.Release(inst, true)
				}
			}
			if (err == nil) != c.opens {
				t.Errorf("opens: %v, want %v: %v", err == nil, c.opens, err)
			}
		})
	}
}
