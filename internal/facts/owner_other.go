//go:build !unix

package facts

import "os"

// Files here have no uid, so nobody trusted owns them and the default rules refuse them.
func owner(os.FileInfo) (uid, gid int64) { return -1, -1 }

func linkCount(os.FileInfo) int64 { return 1 }
