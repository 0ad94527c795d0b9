package identity

import (
	"errors"
	"strconv"
	"strings"
)

// allIDs is how many ids there are: 2^32-1 is none.
const allIDs = 1<<32 - 1

// everyID accepts the text of /proc/self/uid_map or gid_map (user_namespaces(7)) when it maps every id to itself, as in
// the initial user namespace. An unprivileged user can make a namespace in which the own uid has any number, or looks
// as if mapped to itself by way of a second one; but only who holds every id outside can map every id inside, and so
// outwards to the first namespace.
func everyID(text string) error {
	next := uint64(0)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return errors.New("the map of ids is malformed")
		}
		var n [3]uint64
		for i, f := range fields {
			v, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return errors.New("the map of ids is malformed")
			}
			n[i] = v
		}
		if n[0] != next || n[1] != next {
			break
		}
		next += n[2]
	}
	if next != allIDs {
		return errors.New("the process is in a user namespace, where ids can mean others outside")
	}
	return nil
}
