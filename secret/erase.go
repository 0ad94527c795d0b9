//go:build !goexperiment.runtimesecret

package secret

// erasing runs f. Built with GOEXPERIMENT=runtimesecret it also erases f's registers and stack.
func erasing(f func()) { f() }
