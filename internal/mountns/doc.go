// Package mountns runs a test in a mount namespace of its own, with fresh file systems at /run and /mnt, where it can lay out
// volumes as container platforms do, and start the probe of package probe among them as any user. It is for tests only, and
// needs root and Linux.
package mountns
