//go:build race

package loader_test

// raceLoads is how many loads TestNoRace makes: the race detector makes each of them much slower.
const raceLoads = 5_000
