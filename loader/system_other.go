//go:build !linux

package loader

import (
	"os"
	"runtime"
)

const (
	openNoFollow = 0
	modesMatter  = runtime.GOOS != "windows"
)

// secureExecution compares the real and the effective ids, all that these systems tell.
func secureExecution() bool {
	return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
}

// checkOwner has no portable way to ask.
func checkOwner(os.FileInfo) error { return nil }
