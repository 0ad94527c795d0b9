// Package e2e runs the four example services as they are deployed: under their own hardened units, in a real systemd that
// boots in a box (internal/realsystemd), with a scenario that runs beside them as root. It takes seconds, and needs root.
package e2e
