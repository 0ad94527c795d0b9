// Package engine holds what the checker says of a Compose project and of a Quadlet file against what the loader meets in the
// container: the same secrets, once declared, once as files, modes, owners and mounts. It needs root.
//
// It stands apart from package compose because it takes seconds and a mount namespace.
package engine
