package systemd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/internal/realsystemd"
)

// TestCHK1074Show: what the settings of a unit come to, is what a real systemd says: for units that are installed, and for
// generated ones with hostile syntax. No disagreement, on this machine's own systemd and on 257.
func TestCHK1074Show(t *testing.T) {
	if !realsystemd.Available(t) {
		return
	}
	t.Run("own", func(t *testing.T) { compareShown(t, "") })
	t.Run("257", func(t *testing.T) {
		if root, ok := realsystemd.Debian13(t); ok {
			compareShown(t, root)
		}
	})
}

const (
	generated = 400
	leastSeen = 300
)

func compareShown(t *testing.T, root string) {
	units := installed(t, filepath.Join("/", root))
	random := rand.New(rand.NewPCG(7, 1070))
	for i := range generated {
		name, text := hostileUnit(random, i)
		units[name] = text
	}
	var names []string
	for name := range units {
		names = append(names, name)
	}
	slices.Sort(names)
	m := &realsystemd.Machine{Root: root, Units: map[string]string{}, Start: []string{realsystemd.Shower}}
	for name, text := range units {
		m.Units[name] = text
		if prefix, _, instance := strings.Cut(name, "@"); instance {
			delete(m.Units, name)
			m.Units[prefix+"@.service"] = text
		}
	}
	m.Units[realsystemd.Shower] = realsystemd.ShowUnit(names, properties())
	r := m.Run(t)
	shown := realsystemd.Shown(r.Services[realsystemd.Shower].Stdout)
	seen, refused := 0, 0
	for _, name := range names {
		theirs := shown[name]
		if theirs == nil {
			t.Errorf("systemd does not show %s: %s", name, r.Services[realsystemd.Shower].Stderr)
			continue
		}
		seen++
		ours := fold(t, name, units[name])
		if ours == nil {
			refused++
		}
		for _, d := range differences(ours, theirs) {
			t.Errorf("systemd %d: %s: %s\n%s", r.Version, name, d, units[name])
		}
	}
	t.Logf("systemd %d: %d units compared, %d of them refused", r.Version, seen, refused)
	if seen < leastSeen || refused < 10 || refused > seen/2 {
		t.Errorf("%d units were compared, %d refused", seen, refused)
	}
}

func properties() []string {
	return []string{
		"Environment", "EnvironmentFiles", "PassEnvironment", "User", "Group", "DynamicUser", "UMask", "MemoryDenyWriteExecute",
		"SystemCallFilter", "ExecStart", "ExecStartPre",
	}
}

// installed are the services of a root, each under another name, so that it is read as it stands and without drop-ins.
func installed(t *testing.T, root string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "usr/lib/systemd/system/*.service"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d units are installed in %s: %v", len(files), root, err)
	}
	units := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || len(data) == 0 || !strings.Contains(string(data), "ExecStart=") {
			continue // a link to the null device, or nothing to start
		}
		if strings.Contains(string(data), "BusName=") {
			continue // no two units may have the same
		}
		stem := strings.TrimSuffix(filepath.Base(f), ".service")
		name := "copy-" + stem + ".service"
		if strings.HasSuffix(stem, "@") {
			name = "copy-" + stem + "inst.service"
		}
		units[name] = string(data)
	}
	return units
}

// folded are the values that the settings come to, as systemctl shows them.
type folded map[string][]string

// fold reads a unit with the model, and with what the model does not keep: the values.
func fold(t *testing.T, name, text string) folded {
	t.Helper()
	unit := splitName(name)
	var raw []string
	p := &parser{file: name, unit: unit, keep: func(p *parser, a *assignment, l *logical, offset int) {
		raw = append(raw, a.value)
		reduce(p, a, l, offset)
	}}
	assignments, bad := p.parse([]byte(text))
	if bad != nil {
		t.Fatalf("%s: %+v", name, bad)
	}
	s := newService(Unit{Name: name})
	var environment []string
	commands := map[string][]string{}
	hosts := map[string]bool{} // settings with specifiers that the model leaves open
	for _, a := range assignments {
		value := ""
		if a.value != "" || a.fault != "" {
			value, raw = raw[0], raw[1:]
		}
		if !wanted(a.section, a.key) {
			continue
		}
		handler(a.key)(s, a)
		switch {
		case a.key == keyEnvironment && value == "":
			environment = nil
		case a.key == keyEnvironment:
			environment = foldEnvironment(unit, environment, value)
		case isExec(a.key) && value == "":
			commands[a.key] = nil
		case isExec(a.key):
			list, _ := splitCommands(unit, value, func(int, int) (none descriptor.Position) { return none })
			for _, c := range list {
				commands[a.key] = append(commands[a.key], showCommand(unit, c))
			}
			if _, how := unit.expand(value); how == open {
				hosts[a.key] = true
			}
		}
	}
	if slices.ContainsFunc(s.findings, func(f descriptor.Finding) bool { return f.Rule == descriptor.RuleRefused }) {
		return nil
	}
	user, _ := unit.expand(s.user)
	group, _ := unit.expand(s.settings.group)
	if s.dynamic && user == "" { // systemd makes the name up
		user = unit.prefix
	}
	if s.dynamic && group == "" {
		group = user
	}
	f := folded{
		"Environment": {quoteAll(environment)}, "names": {}, "PassEnvironment": {}, "EnvironmentFiles": {},
		"User": {user}, "Group": {group}, "DynamicUser": {yesNo(s.dynamic)}, "UMask": {fmt.Sprintf("%04o", s.settings.umask)},
		"MemoryDenyWriteExecute": {yesNo(s.settings.noExec.value)}, "ExecStart": commands["ExecStart"], "ExecStartPre": commands["ExecStartPre"],
	}
	var names, passed []string
	for _, v := range s.settings.environment.set.list {
		names = append(names, v.name)
	}
	for _, v := range s.settings.environment.pass.list {
		passed = append(passed, v.name)
	}
	for _, file := range s.settings.environment.files {
		f["EnvironmentFiles"] = append(f["EnvironmentFiles"], file.path+" (ignore_errors="+yesNo(file.optional)+")")
	}
	f["names"], f["PassEnvironment"] = []string{strings.Join(names, " ")}, []string{strings.Join(passed, " ")}
	filter := s.settings.filter.value
	f["allows"] = []string{strconv.FormatBool(filter.allows)}
	for name := range neededCalls() {
		_, listed := filter.calls[name]
		refused, _ := filter.refuses(name, false)
		if filter.allows {
			listed = !refused // what is refused with an error is not shown
		}
		f["call "+name] = []string{strconv.FormatBool(listed)}
	}
	for key := range hosts {
		delete(f, key)
	}
	return f
}

func foldEnvironment(unit name, environment []string, value string) []string {
	c := cutter{text: value}
	for !c.done() {
		w, ok := c.word(splitting{unquote: true, unescape: true})
		if !ok {
			break
		}
		v, message := readAssignment(unit, w.text)
		if message != "" {
			continue
		}
		resolved, _ := unit.expand(w.text)
		i := slices.IndexFunc(environment, func(e string) bool { return strings.HasPrefix(e, v.name+"=") })
		if i < 0 {
			environment = append(environment, resolved)
		} else {
			environment[i] = resolved
		}
	}
	return environment
}

func showCommand(unit name, c command) string {
	var arguments []string
	for i, a := range c.arguments {
		text := a.text
		if i > 0 || text != c.path {
			text, _ = unit.expand(text)
		}
		arguments = append(arguments, text)
	}
	executable := c.path
	if path.IsAbs(executable) {
		executable = simplified(executable)
	}
	return fmt.Sprintf("{ path=%s ; argv[]=%s ; ignore_errors=%s ; ", executable, strings.Join(arguments, " "), yesNo(c.ignore))
}

// quoteAll is systemd's shell_maybe_quote of each.
func quoteAll(words []string) string {
	var out []string
	for _, w := range words {
		if strings.ContainsAny(w, "\"\\`$*?['()<>|&;! ") || strings.ContainsFunc(w, isControl) {
			var b strings.Builder
			for _, r := range w {
				switch i := strings.IndexRune("\a\b\f\n\r\t\v", r); {
				case r == 0:
				case i >= 0:
					b.WriteString(`\` + string("abfnrtv"[i]))
				case isControl(r):
					fmt.Fprintf(&b, `\%03o`, r)
				case strings.ContainsRune("\"\\`$", r):
					b.WriteString(`\` + string(r))
				default:
					b.WriteRune(r)
				}
			}
			w = `"` + b.String() + `"`
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

// differences lists where the model and systemd do not agree about a unit. nil is one that systemd refuses.
func differences(ours folded, theirs map[string][]string) []string {
	state := strings.Join(theirs["LoadState"], "")
	if (ours == nil) != (state == "bad-setting") || ours != nil && state != "loaded" {
		return []string{fmt.Sprintf("refused by us %v, by systemd it is %s", ours == nil, state)}
	}
	if ours == nil {
		return nil
	}
	var list []string
	filter := strings.Join(theirs["SystemCallFilter"], "")
	theirs["allows"] = []string{strconv.FormatBool(!strings.HasPrefix(filter, "~"))}
	words := strings.Fields(strings.TrimPrefix(filter, "~"))
	for name := range neededCalls() {
		listed := slices.ContainsFunc(words, func(w string) bool { return w == name || strings.HasPrefix(w, name+":") })
		theirs["call "+name] = []string{strconv.FormatBool(listed)}
	}
	for key, values := range ours {
		got := slices.Clone(theirs[key])
		if key == "names" {
			continue // what Environment= is compared with, by itself
		}
		if strings.HasPrefix(key, "Exec") {
			for i, v := range got {
				got[i], _, _ = strings.Cut(v, "start_time=")
			}
		}
		values, got = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }), slices.DeleteFunc(got, func(v string) bool { return v == "" })
		if !slices.Equal(values, got) {
			list = append(list, fmt.Sprintf("%s:\nours   %q\ntheirs %q", key, values, got))
		}
	}
	return list
}

// hostileUnit makes up a unit in which everything stands that has a meaning for the parsers of systemd, in any order.
func hostileUnit(r *rand.Rand, i int) (name, text string) {
	name = fmt.Sprintf("hostile-%d.service", i)
	if i%5 == 0 {
		name = fmt.Sprintf("hostile-%d@in-st.service", i)
	}
	var b strings.Builder
	b.WriteString("[Service]\nExecStart=/bin/true\nType=oneshot\n")
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	words := func(piece func() string) string {
		var out []string
		for range r.IntN(5) {
			out = append(out, piece())
		}
		return strings.Join(out, pick(" ", "  ", "\t", " \\\n  ", " \\\n# comment \\\n\t"))
	}
	scrap := func() string {
		return pick("a", "B_1", "=", "'", `"`, `\`, `\f`, `\x41`, `\u00e9`, `\U0001F600`, `\101`, `\q`, `\;`, ";", "%i", "%p", "%N", "%%", "%-", "%z",
			"$A", "${B}", "$$", "'x y'", `"x\ty"`, `"'"`, " ", "é", "%", "--token=", "~", ":", "/", `\s`, `\\`, "\u00a0", "#", "`", "*", "!")
	}
	scraps := func() string {
		var out strings.Builder
		for range r.IntN(4) {
			out.WriteString(scrap())
		}
		return out.String()
	}
	variable := func() string {
		return pick("A", "B", "API_TOKEN", "1A", "", "Ä", "A B", "%p", "A_%i", "PATH", `"C`, "'D", `\x45`) + pick("=", "=", "=", "", "==") + scraps()
	}
	for range 1 + r.IntN(6) {
		key := pick("Environment", "Environment", "Environment", "PassEnvironment", "EnvironmentFile", "User", "Group", "DynamicUser", "UMask",
			"MemoryDenyWriteExecute", "SystemCallFilter", "SystemCallFilter", "ExecStart", "ExecStart", "ExecStartPre", "SystemCallErrorNumber")
		value := ""
		switch key {
		case "Environment":
			value = words(variable)
		case "PassEnvironment":
			value = words(func() string { return pick("A", "B", "TOKEN", "'A'", `"X"`, "1", "A=b", `\A`, "%p", "B") })
		case "EnvironmentFile":
			value = pick("", "/etc/x", "-/etc/x", "/etc//y/", "etc/z", "/etc/../q", "-", "--/x", "/a/./b", "/%p", "/%z", "/a b", `"/q"`, "/etc/*.env", "-/%i")
		case "User", "Group":
			value = pick("", "root", "nobody", "0", "990", "007", "65535", "4294967295", "4294967296", "a b", "a:b", "-1", "-a", ".", "é", "%p", "%z", "a%%", "x@y", "a/b")
			if r.IntN(3) > 0 { // most would be refused
				value = pick("", "root", "daemon", "33")
			}
		case "DynamicUser":
			value = pick("yes", "no", "on", "off", "True", "0")
			if r.IntN(8) == 0 {
				value = pick("", "maybe", "yes no")
			}
		case "MemoryDenyWriteExecute":
			value = pick("yes", "no", "", "2", "y", "T", "yes\\\n")
		case "UMask":
			value = pick("0077", "77", "8", "", "07777", "010000", "+7", "-1", "0o77", "0x1", "7 7", "00000000022")
		case "SystemCallErrorNumber":
			value = pick("EPERM", "kill", "1", "", "EFOO BAR")
		case "SystemCallFilter":
			value = pick("", "~", "", "~ ") + words(func() string {
				return pick("@system-service", "@file-system", "@memlock", "mlock", "~mlock", "openat", "@nosuch", "mlock:EPERM", "statx:kill", ":EPERM",
					"madvise", "@basic-io", "pread64", "mprotect", "'mlock'", "@default", "read", "mprotect:1", "@known", `\mlock`)
			})
		case "ExecStart", "ExecStartPre":
			value = pick("", "", "", "-", "@", ":", "+", "!", "!!", "-@", "+!", "!!!", "@-:+") +
				pick("/bin/true", "/bin/true", "true", "/bin/%p", "/bin//x", "/bin/x/", "bin/x", `"/bin/q"`, `/bin/a\x41`, "/bin/%z", "", `"/bin/a'b"`) + " " + words(scraps) +
				pick("", "", " ; /bin/false b", " ; ; /bin/false", ` \; x`, ";", " ;", " ; -")
		}
		fmt.Fprintf(&b, "%s%s=%s%s\n", pick("", " "), key, pick("", " ", "\t"), value)
	}
	return name, b.String()
}
