package realsystemd

import "strings"

// Shower is the name of the unit that [ShowUnit] is meant for.
const Shower = "show.service"

// ShowUnit is the text of a unit that prints what systemd made of other units, none of which has to start: give it to a
// machine as [Shower], start that, and read its output with [Shown].
func ShowUnit(units, properties []string) string {
	return "[Service]\nType=oneshot\nExecStart=systemctl show --no-pager --all -p Id,Names,LoadState," +
		strings.Join(properties, ",") + " " + strings.Join(units, " ") + "\n"
}

// Shown takes the output of a [ShowUnit] apart: the values of each property of each unit, by their names. A property that
// systemd prints a line each for has several.
func Shown(output string) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for block := range strings.SplitSeq(output, "\n\n") {
		values := map[string][]string{}
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			values[key] = append(values[key], value)
		}
		if id := values["Id"]; len(id) == 1 {
			all[id[0]] = values
		}
	}
	return all
}
