package sandbox

import (
	"runtime"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// canCompile reports whether the process may have executable memory and wazero has a compiler for the processor. Asked
// for a compiler where there is none, wazero panics. The probe does what wazero does: it maps a page writable and makes
// it executable, which systemd's MemoryDenyWriteExecute= and SELinux refuse.
func canCompile() bool {
	if runtime.GOARCH != "arm64" && (runtime.GOARCH != "amd64" || !cpu.X86.HasSSE41) {
		return false
	}
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer unix.Munmap(page) //nolint:errcheck // a page of our own
	return unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC) == nil
}
