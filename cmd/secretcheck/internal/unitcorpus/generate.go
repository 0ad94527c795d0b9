package unitcorpus

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Generate makes n units with hostile syntax, the same ones for the same seed: comments in and before continuations,
// backslashes at their ends, byte order marks, carriage returns, escapes, specifiers, resets, repeated names and sections,
// unknown keys, and drop-ins of every rank in every directory, some of them masked.
func Generate(seed uint64, n int) []Case {
	g := &generator{rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // G404: has to be repeatable
	list := make([]Case, n)
	for i := range list {
		list[i] = g.unit(i)
	}
	return list
}

type generator struct{ *rand.Rand }

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// in reports true once in n times.
func (g *generator) in(n int) bool { return g.IntN(n) == 0 }

// dirs are those of the search path that are left alone when systemd starts: it empties those of its generators, and that
// of transient units.
func dirs() []string {
	return []string{
		"etc/systemd/system", "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "usr/local/lib/systemd/system",
		"etc/systemd/system.control", "run/systemd/system.control", "etc/systemd/system.attached", "run/systemd/system.attached",
	}
}

func (g *generator) unit(i int) Case {
	stem := fmt.Sprintf("g%03d", i)
	switch g.IntN(4) {
	case 0:
		stem += "-x-y"
	case 1:
		stem += "-x"
	}
	c := Case{Files: map[string]string{}}
	names := []string{stem + ".service"}
	if g.in(4) {
		names = []string{stem + "@i.service", stem + "@.service"}
	}
	c.Name = names[0]
	fragment := names[len(names)-1]
	at := g.pick(dirs()...)
	c.Files[at+"/"+fragment] = g.file(true)
	if g.in(5) { // another of the name: only one is in force
		c.Files[g.pick(dirs()...)+"/"+fragment] = g.file(true)
	}
	if g.in(5) {
		names = append(names, g.alias(&c, stem, fragment, at))
	}
	if g.in(3) {
		names = append(names, fmt.Sprintf("g%03d-.service", i))
	}
	for range g.IntN(5) {
		dir := g.pick(dirs()...) + "/" + g.pick(names...) + ".d/"
		name := g.pick("10.conf", "10.conf", "20.conf", "a.conf", "zz.conf", ".hidden.conf", "20.txt")
		switch {
		case g.in(8):
			c.Files[dir+name] = "->/dev/null"
		case g.in(10):
			c.Files[dir+name] = ""
		default:
			c.Files[dir+name] = g.file(false)
		}
	}
	return c
}

// alias adds another name, and sometimes starts the unit by it.
func (g *generator) alias(c *Case, stem, fragment, at string) string {
	alias := stem + "-al.service"
	if strings.Contains(fragment, "@") {
		alias = stem + "-al@.service"
	}
	link := "->/" + at + "/" + fragment
	dir := at
	if g.in(2) {
		dir = "etc/systemd/system"
	} else {
		link = "->" + fragment
	}
	c.Files[dir+"/"+alias] = link
	if g.in(2) {
		c.Name = strings.Replace(alias, "@.", "@i.", 1)
	}
	return alias
}

func (g *generator) file(fragment bool) string {
	var b strings.Builder
	if g.in(10) {
		b.WriteString("\ufeff")
	}
	b.WriteString(g.pick("", "", "# comment\n", "; comment \\\n", "\n \n", "[X-Ours]\nLoadCredential=x:/etc/store/one\n", "[Unit]\nDescription=a \\\n  LoadCredential=x:/etc/store/one\n"))
	b.WriteString(g.pick("[Service]\n", "[Service]\n", " [Service]\t\n", "[Unit]\n[Service]\n"))
	for range 1 + g.IntN(6) {
		b.WriteString(g.line())
	}
	if fragment && g.in(6) {
		b.WriteString("User=nobody\n")
	}
	if g.in(6) {
		b.WriteString("[Install]\nLoadCredential=no:/etc/store/one\n" + g.pick("", "[Service]\n"+g.line()))
	}
	text := b.String()
	switch g.IntN(12) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		text = strings.TrimSuffix(text, "\n")
	case 2:
		text = strings.ReplaceAll(text, "\n", "\r")
	case 3:
		text += "\\"
	}
	return text
}

func (g *generator) line() string {
	before := g.pick("", "", "", "", "# a comment that ends in a backslash \\\n", ";\\\n", "\n", "  # c\n", "UnknownKey=LoadCredential=u:/etc/store/one\n", "Environment=A=b \\\n  LoadCredential=v:/etc/store/one\n")
	key, value := g.setting()
	indent, space := g.pick("", "", " ", "\t"), g.pick("", "", " ", "\t ")
	switch {
	case g.in(6): // the value on a line of its own, behind comments
		value = "\\\n" + g.pick("", "# inside \\\n", ";\n", "  # one\n#two\\\n") + " " + value
	case g.in(12): // what ends the value is a line that is empty
		value += " \\\n" + g.pick("\n", " \n", "# comment\n\n")
		return before + indent + key + space + "=" + space + value
	case g.in(12):
		key = strings.Replace(key, "Credential", "\\\nCredential", 1) // no key any more
	}
	return before + indent + key + space + "=" + space + value + g.pick("", "", " ", "\t") + "\n"
}

func (g *generator) setting() (key, value string) {
	switch g.IntN(20) {
	case 0:
		return g.pick("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted", "ImportCredential"), ""
	case 1, 2, 3, 4:
		return "SetCredential", g.id() + ":" + g.literal()
	case 5, 6, 7, 8:
		return "ImportCredential", g.glob()
	case 9:
		return g.pick("loadcredential", "LoadCredentials", "Load Credential", "XLoadCredential", "LoadCredential:"), "y:/etc/store/one"
	case 10:
		return "LoadCredential", g.pick("one", "two", "gone", "imp.a", "link", "dangling", ".hidden", "new:one", "new:two", "a:gone", "b:imp.b", "one:", "x y", "c:x y")
	}
	return "LoadCredential", g.id() + ":" + g.source()
}

func (g *generator) id() string {
	return g.pick("a", "a", "b", "c", "a.b", "a_b", "a-b", "x y", "n%%n", "%p", "%i", "%N", "%j", "%P", "a%-", "q\"q", "'q'", `e\sc`, `e\\sc`, "tree_a", "t", "imp.a", "ren.a",
		"", ".", "..", "a/b", "\u00e4", `a\`, strings.Repeat("n", 255), strings.Repeat("n", 256), "#no", "a;b", "$HOME", "one")
}

func (g *generator) source() string {
	if g.in(3) { // what services start with
		return g.pick("/etc/store/one", "/etc/store/two", "/etc/store/empty", "/etc/store/sp ace", "/etc/store/two no", "/etc/store/to-file", "/etc/store/tree", "/etc/store/other", "%E/store/one", "/etc/store/inst/%i")
	}
	return g.pick("/etc/store/one", "/etc/store/one", "/etc/store/two", "/etc/store/two", "/etc/store/tree", "/etc/store/tree/", "/etc/store/to-tree", "/etc/store/gone",
		"/etc/store/to-nothing", "/etc/store/loop", "/etc/store/big", "/etc/store/full", "/etc/store/over", "/etc/store/bad", "/etc/store/none", "/etc/store/links", "/etc/store/many",
		"/etc/store/one/", "/etc/store/one/x", "/etc//store/one", "/etc/../etc/store/one", "/etc/./store/one", "etc/store/one", "\"/etc/store/one\"", "/etc/store/one\\", "~/x", "/dev/null", "/etc/store/one:two")
}

func (g *generator) glob() string {
	return g.pick("imp.*", "imp.*", "imp.a", "*", "none.*", "im*", "one", "two", ".h*", ".hidden", "dangling", "link", "x y", "i?p", "[i]mp.a", "*a", "imp.**", "imp.*:ren.", "imp.a:new", "imp.*:", "one:a",
		"imp.*:a/b", ":new", `im\p.a`, "%p*", "one:a b", "im*:a")
}

func (g *generator) literal() string {
	return g.pick("fake", "fake", "with space ", " before", `a\nb`, `\x41\x00\101`, `\u00e9`, `\U0001F600`, `\q`, `\x4`, `\9`, "", "a:b", `"quoted"`, "#no comment", "%n", `\s`, `\\`, "\u00e4", strings.Repeat("v", 5000))
}
