//go:build !linux

package auditlog

import (
	"os"
	"runtime"
)

const (
	openNoFollow = 0
	modesMatter  = runtime.GOOS != "windows"
)

// checkOwner has no portable way to ask.
func checkOwner(os.FileInfo) error { return nil }

// makeRoom has no portable way either.
func makeRoom(*os.File, int64) error { return nil }
