// Command gen writes the default policy's bundle, which package policy embeds, to the file that it is given.
package main

import (
	"context"
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
	if len(args) != 1 {
		return fmt.Errorf("usage: gen FILE")
	}
	b, err := rego.Default(context.Background())
	if err != nil {
		return err
	}
	archive, err := b.Marshal()
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], archive, 0o644) // public: the rules and no grant
}
