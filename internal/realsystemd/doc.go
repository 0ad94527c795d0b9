// Package realsystemd runs a real systemd, as the first process of a box that cannot write to the machine: an overlay
// root, memory file systems of its own at /run, /tmp, /var/tmp and /dev, and namespaces for mounts, processes, IPC, network,
// host name and control groups. It is for tests only, needs root and Linux, and takes about a second.
//
// Never start systemd on a machine's own root instead: sysinit.target, which any unit with default dependencies pulls in,
// runs systemd-tmpfiles --remove, and that empties the real /tmp.
package realsystemd
