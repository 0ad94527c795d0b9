// Package memscan looks for secrets in the memory of another process. It is for tests only.
package memscan

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Outside counts where a process holds eight bytes in a row of any of these, but in the mappings of these addresses. What it
// cannot read, as memory of memfd_secret, nobody can. It is an error when next to nothing could be read.
func Outside(pid int, addresses []uintptr, all ...[]byte) (int, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, err
	}
	defer mem.Close()
	count, read := 0, 0
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %s ", &from, &to, &perms); n != 3 || perms[0] != 'r' || perms[1] != 'w' {
			continue
		}
		inside := false
		for _, a := range addresses {
			inside = inside || from <= a && a < to
		}
		if inside {
			continue
		}
		text := make([]byte, to-from)
		n, _ := mem.ReadAt(text, int64(from))
		read += n
		for _, b := range all {
			for i := 0; i+8 <= len(b); i++ {
				count += bytes.Count(text[:n], b[i:i+8])
			}
		}
	}
	if read < 1<<20 {
		return 0, fmt.Errorf("only %d bytes could be read", read)
	}
	return count, nil
}
