package main

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// every lists the commands, the groups among them.
func every(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		list = append(list, every(c)...)
	}
	return list
}

// TestCHK1151HelpFitsAScreen: CHK-1151. Whatever commands there will be: 24 lines, an example first.
func TestCHK1151HelpFitsAScreen(t *testing.T) {
	all := every(newRoot())
	if len(all) < 12 {
		t.Fatalf("%d commands", len(all))
	}
	for _, cmd := range all {
		columns := 100
		if name := cmd.CommandPath(); name == "secretcheck" || name == "secretcheck check" {
			columns = 80
		}
		helpFits(t, cmd, columns)
	}
}

func fitsIn(text string, columns int) bool {
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > columns {
			return false
		}
	}
	return strings.Count(text, "\n") <= 24
}

func helpFits(t *testing.T, cmd *cobra.Command, columns int) {
	t.Helper()
	cmd.InitDefaultHelpFlag()
	text := helpOf(cmd, false)
	if first, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(first, "  secretcheck ") {
		t.Errorf("%s: help does not start with an example: %q", cmd.CommandPath(), first)
	}
	if !fitsIn(text, columns) {
		t.Errorf("%s: help has more than 24 lines of %d columns; mark flags with rarely, and move text to the annotation more:\n%s", cmd.CommandPath(), columns, text)
	}
	whole := helpOf(cmd, true)
	for line := range strings.Lines(usageOf(cmd, false)) {
		if strings.HasPrefix(line, "      --") && !strings.Contains(whole, strings.Fields(line)[0]) {
			t.Errorf("%s: --all lacks %q", cmd.CommandPath(), line)
		}
	}
}

// TestCHK1151Group: CHK-1151. A group of 16 commands fits as well, and a text of 25 lines would be noticed.
func TestCHK1151Group(t *testing.T) {
	root := newRoot()
	group := &cobra.Command{Use: "group COMMAND", Short: "s", Example: "  secretcheck group 1\n  secretcheck group 2\n  secretcheck group 3", DisableFlagsInUseLine: true}
	for i := range 16 {
		group.AddCommand(&cobra.Command{Use: strconv.Itoa(i), Short: "s", RunE: noCommand})
	}
	root.AddCommand(group)
	if text := helpOf(group, false); !fitsIn(text, 80) {
		t.Errorf("%d lines:\n%s", strings.Count(text, "\n"), text)
	}
	if fitsIn(strings.Repeat("\n", 25), 80) || fitsIn(strings.Repeat("ü", 81), 80) || !fitsIn(strings.Repeat("ü", 80), 80) {
		t.Error("the bound is not kept")
	}
}
