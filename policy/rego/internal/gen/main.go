// Command gen writes the default policy's bundle, which package policy embeds, to policy/default.tar.gz, or to the file that
// it is given, and the hash of its module to default.sha256 beside it.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	sum := fmt.Sprintf("%x\n", sha256.Sum256(b.Wasm))
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "default.sha256"), []byte(sum), 0o644); err != nil { //nolint:gosec // G306: public
		return err
	}
	return os.WriteFile(file, archive, 0o644) //nolint:gosec // G306: public, the rules and no grant
}
