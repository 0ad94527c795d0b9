// Package node holds what the checker says of a manifest against what the loader meets on a node: the same pod, once as
// YAML, once as directories, links, modes, owners and mounts. It needs root.
//
// It stands apart from package kubernetes because it takes seconds and a mount namespace.
package node
