//go:build !linux

// Package incgroup is for tests on Linux.
package incgroup
