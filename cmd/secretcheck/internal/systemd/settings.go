package systemd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

const (
	keyGroup       = "Group"
	keyUMask       = "UMask"
	keyNoExec      = "MemoryDenyWriteExecute"
	keyFilter      = "SystemCallFilter"
	keyFilterErrno = "SystemCallErrorNumber"
	keyMemlock     = "LimitMEMLOCK"
	keyHidden      = "InaccessiblePaths"
	keyTemporary   = "TemporaryFileSystem"
)

// defaultUMask is that of services of the system.
const defaultUMask = 0o022

// settings are those of a service, besides its credentials and its account.
type settings struct {
	environment environment
	exposed     map[string][]exposure // by the setting they stand in

	group  string
	umask  uint64
	noExec setting[bool]
	filter setting[filter]
	errno  bool // a system call that the filter refuses fails, instead of ending the process

	memlock setting[uint64]              // the soft limit in bytes
	covered map[string][]setting[string] // paths, by the setting that covers them
	breaks  []descriptor.Break
}

func newSettings() settings {
	return settings{umask: defaultUMask, exposed: map[string][]exposure{}, covered: map[string][]setting[string]{}}
}

// setting is a value and where it was set. The zero value is one that nobody set.
type setting[T any] struct {
	value T
	at    descriptor.Position
}

func settingHandler(key string) func(*service, assignment) {
	switch key {
	case keyEnvironment, keyPass, keyUnset:
		return (*service).variable
	case keyEnvironmentFile:
		return (*service).environmentFile
	case keyUMask:
		return (*service).umask
	case keyNoExec:
		return (*service).noExec
	case keyFilter:
		return (*service).systemCalls
	case keyFilterErrno:
		return (*service).systemCallErrno
	case keyMemlock:
		return (*service).memlock
	case keyHidden, keyTemporary:
		return (*service).covers
	}
	return nil
}

// faults tells what systemd drops of a line, or refuses the unit for.
func (s *service) faults(a assignment) {
	for _, f := range a.faults {
		if f.refused {
			s.refused(f.at, a.key, f.message)
		} else {
			s.dropped(f.at, a.key, f.message)
		}
	}
}

// dropped records what systemd logs and passes over. It quotes nothing of it.
func (s *service) dropped(at descriptor.Position, key, message string) {
	s.findings = append(s.findings, descriptor.Finding{
		Rule: descriptor.RuleIgnored, Severity: policy.SeverityWarning, Position: at,
		Message: fmt.Sprintf("systemd would ignore this of %s=: %s", key, message),
		Fix:     "correct the line",
	})
}

// refused records a line for which systemd does not load the unit: nothing of it starts.
func (s *service) refused(at descriptor.Position, key, message string) {
	b := descriptor.Break{
		Rule: descriptor.RuleRefused, Message: fmt.Sprintf("systemd does not load the unit, for %s=: %s", key, message),
		Fix: "correct the line; systemd-analyze verify shows what systemd makes of it",
	}
	s.breakLoads(at, b)
}

// breakLoads tells of what keeps every load of the service from succeeding.
func (s *service) breakLoads(at descriptor.Position, b descriptor.Break) {
	s.settings.breaks = append(s.settings.breaks, b)
	s.findings = append(s.findings, descriptor.Finding{
		Rule: b.Rule, Severity: policy.SeverityError, Message: b.Message, Fix: b.Fix, Position: at,
	})
}

// umask handles UMask=: up to four octal digits count, as parse_mode has it.
func (s *service) umask(a assignment) {
	const most = 0o7777
	n, err := strconv.ParseUint(a.value, 8, 32)
	if err != nil || n > most || strings.ContainsAny(a.value, "+-_") {
		s.dropped(a.at, a.key, "it is not an octal number up to 7777")
		return
	}
	s.settings.umask = n
}

func (s *service) noExec(a assignment) {
	if !isTrue(a.value) && !isFalse(a.value) {
		s.dropped(a.at, a.key, "it is not a boolean")
		return
	}
	s.settings.noExec = setting[bool]{isTrue(a.value), a.at}
}

// memlock handles LimitMEMLOCK=SOFT[:HARD], in bytes with a unit, or infinity.
func (s *service) memlock(a assignment) {
	soft, hard, both := strings.Cut(a.value, ":")
	n, ok := parseSize(soft)
	if both && ok {
		var most uint64
		most, ok = parseSize(hard)
		ok = ok && n <= most
	}
	if !ok {
		s.dropped(a.at, a.key, "it is not a size, or a soft and a larger hard one")
		return
	}
	s.settings.memlock = setting[uint64]{n, a.at}
}

// parseSize is systemd's parse_size to the base 1024, for whole numbers with one unit.
func parseSize(text string) (uint64, bool) {
	if text == "infinity" {
		return 1<<64 - 1, true
	}
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "BKMGTPE ")
	shift := strings.Index(" KMGTPE", strings.TrimSpace(text[len(digits):]))
	if unit := strings.TrimSpace(text[len(digits):]); unit == "" || unit == "B" {
		shift = 0
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || shift < 0 || n<<(10*shift)>>(10*shift) != n {
		return 0, false
	}
	return n << (10 * shift), true
}

// covers handles InaccessiblePaths= and TemporaryFileSystem=, as far as they can lie over what a load needs.
func (s *service) covers(a assignment) {
	if a.value == "" {
		delete(s.settings.covered, a.key)
		return
	}
	c := cutter{text: a.value}
	for !c.done() {
		w, ok := c.word(splitting{unquote: true})
		if !ok {
			return
		}
		text := strings.TrimLeft(w.text, "-+")
		if a.key == keyTemporary {
			text, _, _ = strings.Cut(text, ":")
		}
		if p, how := s.name.expand(text); how == settled && strings.HasPrefix(p, "/") {
			s.settings.covered[a.key] = append(s.settings.covered[a.key], setting[string]{simplified(p), a.at})
		}
	}
}

// withSettings adds the loads of the environment, and what the settings do to all loads.
func (s *service) withSettings(loads []descriptor.Load) []descriptor.Load {
	credentials := len(loads)
	variables, common := s.environmentLoads()
	for i := range loads {
		loads[i].Environment = common
	}
	loads = append(loads, variables...)
	s.tellExposed()
	if credentials > 0 {
		s.harden()
	}
	var refused []descriptor.Break // hardening leaves variables alone
	for _, b := range s.settings.breaks {
		if b.Rule == descriptor.RuleRefused {
			refused = append(refused, b)
		}
	}
	for i := range loads {
		if loads[i].Breaks = refused; i < credentials {
			loads[i].Breaks = s.settings.breaks
		}
	}
	return loads
}
