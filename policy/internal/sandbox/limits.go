package sandbox

import (
	"fmt"
	"runtime"
	"time"
)

// Limits bound what a guest may use. [Limits.Resolve] fills in the defaults and refuses a value outside the stated range:
// there is no way to switch a limit off.
type Limits struct {
	Deadline      time.Duration // of one decision. Default 100 ms, at most 10 s
	Fuel          int64         // of one decision, about one unit an instruction. Default 50 million, at most 10 billion
	GrowthBytes   int64         // memory growth during one decision. Default 16 MiB, at most 256 MiB
	StackBytes    int64         // call stack, counted by worst-case frames. Default 16 MiB, at most 256 MiB
	InputBytes    int           // encoded request. Default 256 KiB, at most 4 MiB
	ResultBytes   int           // encoded decision. Default 256 KiB, at most 4 MiB
	DataBytes     int64         // memory of an instance with its data, before any decision. Default 64 MiB, at most 1 GiB
	ModuleBytes   int           // the bundle's policy.wasm. Default 4 MiB, at most 16 MiB
	Instances     int           // decisions at the same time; others wait. Default GOMAXPROCS, at most 1024
	LoadingBudget time.Duration // to instantiate and to parse the data. Default 5 s, at most 60 s
}

const mib = 1 << 20

// Resolve returns the limits with the default for every zero field, or an error that names the field and its range.
func (l Limits) Resolve() (Limits, error) {
	var err error
	pick := func(name string, v *int64, def, most int64) {
		if *v == 0 {
			*v = def
		}
		if (*v < 1 || *v > most) && err == nil {
			err = fmt.Errorf("policy: Limits.%s is %d, allowed are 1 to %d", name, *v, most)
		}
	}
	pickInt := func(name string, v *int, def, most int64) {
		n := int64(*v)
		pick(name, &n, def, most)
		*v = int(n)
	}
	pick("Deadline", (*int64)(&l.Deadline), int64(100*time.Millisecond), int64(10*time.Second))
	pick("Fuel", &l.Fuel, 50_000_000, 10_000_000_000)
	pick("GrowthBytes", &l.GrowthBytes, 16*mib, 256*mib)
	pick("StackBytes", &l.StackBytes, 16*mib, 256*mib)
	pickInt("InputBytes", &l.InputBytes, mib/4, 4*mib)
	pickInt("ResultBytes", &l.ResultBytes, mib/4, 4*mib)
	pick("DataBytes", &l.DataBytes, 64*mib, 1024*mib)
	pickInt("ModuleBytes", &l.ModuleBytes, 4*mib, 16*mib)
	pickInt("Instances", &l.Instances, int64(runtime.GOMAXPROCS(0)), 1024)
	pick("LoadingBudget", (*int64)(&l.LoadingBudget), int64(5*time.Second), int64(time.Minute))
	return l, err
}

// maxPages is the largest memory that an instance can ever have, in pages of 64 KiB.
func (l Limits) maxPages() uint32 {
	return uint32((l.DataBytes + l.GrowthBytes + pageBytes - 1) / pageBytes) //nolint:gosec // G115: at most 20,480
}

// startPages is what an instance may begin with: with less than one whole page in DataBytes, none.
func (l Limits) startPages() uint32 { return uint32(l.DataBytes / pageBytes) } //nolint:gosec // G115: at most 16,384
