//go:build goexperiment.runtimesecret

package secret

import runtimesecret "runtime/secret"

// erasing runs f so that the runtime overwrites its registers and its stack when it returns, and what it allocates when
// that is collected. f must be of this package: a caller's callback would have its results erased, too.
func erasing(f func()) { runtimesecret.Do(f) }
