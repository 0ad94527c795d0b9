// Secretcheck tells before a rollout whether every deployment descriptor asks only for secrets that the policy grants,
// and whether each load will succeed; and it builds the policies. It never reads the content of a secret.
package main

import "os"

func main() {
	os.Exit(run(world{os.Args[1:], os.Stdin, os.Stdout, os.Stderr}))
}
