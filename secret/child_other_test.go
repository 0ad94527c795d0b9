//go:build !linux

package secret

func runChild(string) int { return 2 }
