package systemd

import (
	"slices"
	"strconv"
	"strings"
)

func (s *service) dynamicUser(a assignment) {
	switch {
	case isTrue(a.value):
		s.dynamic = true
	case isFalse(a.value):
		s.dynamic = false
	default:
		s.refused(a.at, a.key, "it is not a boolean")
	}
}

// account handles User= and Group=.
func (s *service) account(a assignment) {
	if name, how := s.name.expand(a.value); a.value != "" && (how == unknown || how == settled && !validAccount(name)) {
		s.refused(a.at, a.key, "it is neither a name nor a number of an account")
		return
	}
	if a.key == keyGroup {
		s.settings.group = a.value
		return
	}
	s.user = a.value
}

// validAccount is systemd's valid_user_group_name, relaxed and with numbers.
func validAccount(name string) bool {
	if validUID(name) {
		return true
	}
	digits := strings.Trim(strings.TrimPrefix(name, "-"), "0123456789") == ""
	return name != "" && !digits && name != "." && name != ".." && name[0] != ' ' && name[len(name)-1] != ' ' &&
		validUTF8(name) && !strings.ContainsFunc(name, isControl) && !strings.ContainsAny(name, ":/")
}

// isControl is systemd's char_is_cc.
func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// validUID is systemd's parse_uid: those that mean "none" to the kernel are no uids.
func validUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == s && n != 1<<32-1 && n != 1<<16-1
}

// isTrue and isFalse are systemd's parse_boolean.
func isTrue(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}

func isFalse(value string) bool {
	return slices.Contains([]string{"0", "no", "n", "false", "f", "off"}, strings.ToLower(value))
}

// uidOpen reports whether the service will not be able to prove its uid: in a user namespace that maps it (all that
// PrivateUsers= can make but "full"), and where the rest of the unit is elsewhere.
func (s *service) uidOpen() bool {
	value := s.privateUsers
	return s.partial || value != "" && !isFalse(value) && value != "full"
}

// unitOpen reports the same of the unit: where it delegates its cgroup, lies outside of the system slice, is a template, or
// has its rest elsewhere. Delegate= without a value delegates.
func (s *service) unitOpen() bool {
	slice, resolved := s.name.resolve(s.slice)
	system := slice == "" || slice == "system.slice" || strings.HasPrefix(slice, "system-") && strings.HasSuffix(slice, ".slice")
	return s.partial || s.name.template || s.delegates || !resolved || !system
}

// identity is the account that the service runs as: a name to look up, or a number, -1 where neither is known.
func (s *service) identity() (user string, uid int64) {
	if s.user == "" {
		if s.dynamic || s.partial {
			return "", -1
		}
		return "", 0
	}
	user, ok := s.name.resolve(s.user)
	if !ok {
		return "", -1
	}
	if n, err := strconv.ParseUint(user, 10, 32); err == nil {
		return "", int64(n)
	}
	if user == "root" {
		return "", 0
	}
	return user, -1
}
