// Package kubelet makes the volumes of a pod as Kubernetes does, from the parts that it uses: a tmpfs, directories, links,
// modes, owners and bind mounts. It is for tests only, needs root, and a mount namespace that nobody else is in.
package kubelet
