// Package deployments runs the loader where it is deployed: as a service of a real systemd, and on the volumes of
// container platforms. Everything here is made on the spot, from the parts that the platforms use, and needs root.
//
// It stands apart from package loader because it takes seconds, a box and a mount namespace.
package deployments
