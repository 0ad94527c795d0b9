//go:build !linux

// Package memscan is for tests on Linux.
package memscan
