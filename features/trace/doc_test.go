// Package trace ties the requirements in .specs to the tests: it fails on a requirement that no test cites and on a
// citation of a requirement that is not there. An id is a pointer, not a proof; the proof is the test behind it.
//
// It stands apart from package features because it reads the whole repository, which the second run of the scenarios, as
// another user, could not.
package trace
