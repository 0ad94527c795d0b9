package main

import (
	"os"
	"regexp"
	"strings"
)

func variableName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) }

// variables reads --env: NAME=VALUE, or NAME, which is taken from the environment of this process. Of a name that is given
// twice the last counts. A text that is neither is not quoted: it may be a value.
func variables(list []string) (map[string]string, error) {
	env := map[string]string{}
	for _, v := range list {
		name, value, with := strings.Cut(v, "=")
		if !variableName().MatchString(name) {
			return nil, usage("--env takes NAME=VALUE, or NAME", "one of --env is not the name of a variable")
		}
		if !with {
			own, ok := os.LookupEnv(name)
			if !ok {
				return nil, usage("set it, or give its value: --env NAME=VALUE", "--env %s: there is no such variable here", name)
			}
			value = own
		}
		env[name] = value
	}
	return env, nil
}
