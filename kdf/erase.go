//go:build !goexperiment.runtimesecret

package kdf

// erasing runs f. Built with GOEXPERIMENT=runtimesecret it also erases what f leaves behind.
func erasing(f func()) { f() }
