package doctest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// command is one command of a page.
type command struct {
	line   int    // of its "$ ", counted from 1
	text   string // what the shell gets, without the prompts
	output string // what the page shows below it, each line ended
}

// fence begins or ends a block. Those of tildes, and those in lists and quotations, are not used in our pages.
var fence = regexp.MustCompile("^(\\s*)(```+|~~~+)\\s*(\\S*)")

// shells are the words by which other pages call what we call console.
func shells() []string {
	return []string{"sh", "bash", "zsh", "shell", "shell-session", "shellsession", "sh-session", "fish", "powershell"}
}

// reader goes through a page, line by line.
type reader struct {
	commands []command
	faults   []string
	number   int    // of the line
	closing  string // the fence that ends the block, empty outside
	kind     string // of the block
	prompt   bool   // a command of this block was met
	more     bool   // the line before was of a command
}

// parse takes a page apart. Faults are what would not be run, or not be compared.
func parse(text string) (commands []command, faults []string) {
	r := &reader{}
	for line := range strings.Lines(text) {
		r.number++
		r.read(strings.TrimRight(line, "\r\n"))
	}
	if r.closing != "" {
		r.fault("the block is not closed")
	}
	return r.commands, r.faults
}

func (r *reader) fault(format string, args ...any) {
	r.faults = append(r.faults, fmt.Sprintf("%d: %s", r.number, fmt.Sprintf(format, args...)))
}

func (r *reader) read(line string) {
	m := fence.FindStringSubmatch(line)
	switch {
	case r.closing == "" && m != nil:
		r.open(m)
	case r.closing != "" && m != nil && m[3] == "" && strings.HasPrefix(m[2], r.closing):
		if r.kind == "console" && !r.prompt {
			r.fault("a console block without a command")
		}
		r.closing = ""
	case r.closing != "" && r.kind == "console":
		r.console(line)
	case strings.HasPrefix(strings.TrimSpace(line), "$ "):
		r.fault("a command outside of a console block, which is not run")
	}
}

func (r *reader) open(m []string) {
	r.closing, r.kind, r.prompt, r.more = m[2], m[3], false, false
	switch {
	case m[3] == "":
		r.fault("the block does not say what it is; console is run, text is not")
	case slices.Contains(shells(), m[3]):
		r.fault("a %s block is not run: make it console, with \"$ \" before each command", m[3])
	case m[1] != "":
		r.fault("an indented block: its commands would be indented")
	}
}

func (r *reader) console(line string) {
	switch {
	case strings.HasPrefix(line, "$ "):
		r.prompt, r.more = true, true
		r.commands = append(r.commands, command{line: r.number, text: line[2:]})
	case !r.prompt:
		r.fault("output before the first command")
	case r.more && (line == ">" || strings.HasPrefix(line, "> ")):
		last := &r.commands[len(r.commands)-1]
		last.text += "\n" + strings.TrimPrefix(line[1:], " ")
	default:
		r.more = false
		r.commands[len(r.commands)-1].output += line + "\n"
	}
}
