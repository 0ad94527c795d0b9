package systemd

import (
	"strconv"
	"strings"
)

func (s *service) dynamicUser(a assignment) {
	switch strings.ToLower(a.value) {
	case "1", "yes", "y", "true", "t", "on":
		s.dynamic = true
	case "0", "no", "n", "false", "f", "off", "":
		s.dynamic = false
	}
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
