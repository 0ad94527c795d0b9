//go:build goexperiment.runtimesecret

package kdf

import runtimesecret "runtime/secret"

// erasing runs f so that the runtime overwrites its registers and its stack when it returns, and what it allocates when
// that is collected: the intermediate keys inside crypto/hkdf.
func erasing(f func()) { runtimesecret.Do(f) }
