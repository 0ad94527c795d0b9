//go:build !linux

package sandbox

// canCompile is no outside Linux, where nothing here has tried whether the process may have executable memory: asked
// for a compiler where there is none, wazero panics.
func canCompile() bool { return false }
