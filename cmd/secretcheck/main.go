// Secretcheck tells before a rollout whether every deployment descriptor asks only for secrets that the policy grants,
// and whether each load will succeed; and it builds the policies. It opens no file with a secret but the environment files
// of units, for the names in them, and keeps and shows none.
package main

import (
	"os"
	"runtime/debug"

	_ "github.com/llorch/secrets-management/cmd/secretcheck/internal/hugepages" // before all that allocates
)

func main() {
	debug.SetGCPercent(200) // it runs for a second, in tens of megabytes
	os.Exit(run(world{os.Args[1:], os.Stdin, os.Stdout, os.Stderr}))
}
