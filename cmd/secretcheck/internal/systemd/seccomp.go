package systemd

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// filter is a SystemCallFilter=, as far as the system calls of a load go.
type filter struct {
	allows bool            // it lists what is allowed; else what is refused
	calls  map[string]call // of those that a load makes
}

// call is the entry of a system call in a filter.
type call struct {
	errno bool // it fails, whatever SystemCallErrorNumber= says
	kills bool // it ends the process, whatever SystemCallErrorNumber= says
}

// neededCalls are the system calls that package loader makes and that a filter can take from it, with the groups of systemd
// that hold each, besides @system-service and @known, which hold all of them. They are the same in 252 and 257.
func neededCalls() map[string]string {
	return map[string]string{
		"openat": "@file-system", "openat2": "@file-system", "statx": "@file-system", "fstatfs": "@file-system", "getxattr": "@file-system",
		"readlinkat": "@file-system", "pread64": "@basic-io", "mprotect": "@default", "mlock": "@memlock", "madvise": "",
	}
}

// spared are those without which a load still succeeds, if they fail and do not end the process.
func spared(name string) bool { return name == "mlock" || name == "madvise" || name == shortcut }

// shortcut is a call that takes a load a shorter way. Where it fails, the longer one is taken, and nothing is lost.
const shortcut = "openat2"

// groups are the names that systemd has for sets of system calls, in 252 or 257.
func groups() []string {
	return strings.Fields("@aio @basic-io @chown @clock @cpu-emulation @debug @default @file-system @io-event @ipc @keyring " +
		"@known @memlock @module @mount @network-io @obsolete @pkey @privileged @process @raw-io @reboot @resources @sandbox " +
		"@setuid @signal @swap @sync @system-service @timer")
}

// among lists the calls that a name in a filter stands for.
func among(name string) []string {
	if name[0] != '@' {
		return []string{name}
	}
	var list []string
	for n, group := range neededCalls() {
		if name == group || name == "@system-service" || name == "@known" {
			list = append(list, n)
		}
	}
	return list
}

// systemCalls handles SystemCallFilter=, as config_parse_syscall_filter does.
func (s *service) systemCalls(a assignment) {
	if a.value == "" {
		s.settings.filter = setting[filter]{}
		return
	}
	value, inverted := strings.CutPrefix(a.value, "~")
	f := &s.settings.filter
	if f.value.calls == nil {
		f.value = filter{allows: !inverted, calls: map[string]call{}}
		if !inverted {
			f.value.take("@default", call{}, false)
		}
	}
	f.at = a.at
	c := cutter{text: value}
	told := 0
	for !c.done() {
		w, ok := c.word(splitting{})
		if !ok {
			s.dropped(a.at, a.key, "a backslash at the end")
			return
		}
		if message := f.value.entry(w.text, inverted); message != "" && told < maxTold {
			told++
			s.dropped(a.at, a.key, message)
		}
	}
}

var errnoShape = regexp.MustCompile(`^(kill|E[A-Z0-9]+)$`)

// validErrno accepts "kill" and errors by number or name. Which names there are, is up to the kernel.
func validErrno(text string) bool {
	const most = 4095
	n, err := strconv.ParseUint(text, 10, 32)
	return errnoShape.MatchString(text) || err == nil && n <= most
}

// entry takes in one word of a filter.
func (f *filter) entry(text string, inverted bool) string {
	name, errno, with := strings.Cut(text, ":")
	switch {
	case name == "" || with && !validErrno(errno):
		return "a word is not a system call, with or without an error"
	case with && !inverted:
		return "a system call that is allowed has no error"
	case name[0] == '@' && !slices.Contains(groups(), name):
		return "there is no such group of system calls"
	}
	f.take(name, call{errno: with && errno != "kill", kills: errno == "kill"}, inverted)
	return ""
}

func (f *filter) take(name string, c call, inverted bool) {
	for _, n := range among(name) {
		if _, needed := neededCalls()[n]; !needed {
			continue
		}
		// In a list of what is allowed, an entry with an error stays and denies.
		if inverted != f.allows || inverted && (c.errno || c.kills) {
			f.calls[n] = c
		} else {
			delete(f.calls, n)
		}
	}
}

// refuses reports whether the filter refuses a call, and whether that ends the process.
func (f *filter) refuses(name string, errno bool) (refused, kills bool) {
	if f.calls == nil {
		return false, false
	}
	c, listed := f.calls[name]
	own := c.errno || c.kills
	if listed == f.allows && !own {
		return false, false
	}
	return true, c.kills || !own && !errno
}

func (s *service) systemCallErrno(a assignment) {
	if a.value != "" && !validErrno(a.value) {
		s.dropped(a.at, a.key, "it is neither kill nor an error")
		return
	}
	s.settings.errno = a.value != "" && a.value != "kill"
}
