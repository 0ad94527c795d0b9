// Command probe runs the service of package probe.
package main

import (
	"fmt"
	"os"

	"github.com/llorch/secrets-management/internal/probe"
)

func main() {
	if err := probe.Run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}
