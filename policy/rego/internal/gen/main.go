// Command gen writes the default policy's bundle, which package policy embeds: to policy/default.tar.gz, or to the file
// that it is given.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/llorch/secrets-management/policy/rego"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	file := "policy/default.tar.gz"
	switch len(args) {
	case 0:
	case 1:
		file = args[0]
	default:
		return errors.New("usage: gen [FILE]")
	}
	b, err := rego.Default(context.Background())
	if err != nil {
		return err
	}
	archive, err := b.Marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(file, archive, 0o644) //nolint:gosec // G306: public, the rules and no grant
}
