//go:build !race

package loader_test

// raceLoads is how many loads TestNoRace makes.
const raceLoads = 100_000
