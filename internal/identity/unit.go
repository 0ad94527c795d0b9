package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cgroupOf finds in the text of /proc/self/cgroup (cgroups(7)) the cgroup by which systemd keeps track of this process. That
// is the one of version 2. Where systemd has a version 1 hierarchy of its own beside it (hybrid), both must say the same. A
// process at the root of that one is in none of its cgroups: its manager does not use it, as in a container on a hybrid
// host. Version 1 alone would prove nothing: there, a user to whom a cgroup was delegated can put any process of the same
// uid.
func cgroupOf(text string) (string, error) {
	var unified, named []string
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(fields) != 3:
			return "", errors.New("/proc/self/cgroup is malformed")
		case fields[0] == "0" && fields[1] == "":
			unified = append(unified, fields[2])
		case fields[1] == "name=systemd":
			named = append(named, fields[2])
		}
	}
	switch {
	case len(unified) != 1 || len(named) > 1:
		return "", errors.New("there is no single cgroup of version 2")
	case len(named) == 1 && named[0] != "/" && named[0] != unified[0]:
		return "", fmt.Errorf("systemd's own hierarchy says %q, the one of version 2 %q", named[0], unified[0])
	}
	return unified[0], nil
}

// unitOf names the system service whose cgroup this is. Everything else is refused: what lies in the slice of a user was
// named by that user's own manager, what lies below a unit by the unit, and a container's paths by the container.
func unitOf(cgroup string) (string, error) {
	names := strings.Split(cgroup, "/")
	if len(names) < 3 || names[0] != "" || names[1] != "system.slice" {
		return "", fmt.Errorf("cgroup %q is not in the system slice", cgroup)
	}
	parent := "system"
	for i, name := range names[2:] {
		name = unescape(name)
		slice, isSlice := strings.CutSuffix(name, ".slice")
		if !isSlice {
			if i+3 != len(names) {
				return "", fmt.Errorf("cgroup %q lies below %q, which names what is below it", cgroup, name)
			}
			return service(name)
		}
		// systemd.slice(5): the name of a slice holds the path to it.
		if child, ok := strings.CutPrefix(slice, parent+"-"); !ok || child == "" || strings.Contains(child, "-") {
			return "", fmt.Errorf("cgroup %q: %q is no slice of %q", cgroup, name, parent+".slice")
		}
		parent = slice
	}
	return "", fmt.Errorf("cgroup %q is a slice", cgroup)
}

// unescape undoes what systemd does to a unit's name that the kernel would take for a file of its own: one underscore
// before it (cg_unescape in systemd's cgroup-util.c). What a name holds as \x2d belongs to the name.
func unescape(name string) string { return strings.TrimPrefix(name, "_") }

const maxUnit = 255

// service checks a unit's name as systemd does (unit_name_is_valid) and that it is one that a grant can mean.
func service(name string) (string, error) {
	before, ok := strings.CutSuffix(name, ".service")
	switch {
	case !ok || len(name) > maxUnit || before == "" || before[0] == '@' || !plain(before):
		return "", fmt.Errorf("%q is not the name of a service", name)
	case strings.HasSuffix(before, "@"):
		return "", fmt.Errorf("%q is a template, which never runs", name)
	case strings.HasPrefix(name, "user@"):
		return "", fmt.Errorf("%q is the manager of a user", name)
	}
	return name, nil
}

func plain(name string) bool {
	return !slices.ContainsFunc([]byte(name), func(c byte) bool {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		return !letter && !strings.ContainsRune(`:-_.\@`, rune(c))
	})
}
