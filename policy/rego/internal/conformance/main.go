// Command conformance runs OPA's own cases, those of its Go module, through the sandbox that services use: bounded,
// validated, internalized and metered, with OPA's builtins where a case needs some of the host. It ends with a line of
// figures and fails when a case does, when an exception is not needed any more, and when there are no cases.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

func main() {
	debug.SetGCPercent(400) // every case compiles a module twice: a third of the time goes
	ctx := context.Background()
	dir, err := moduleDir(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	r, err := run(ctx, dir, runtime.GOMAXPROCS(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	for _, failure := range r.failures {
		fmt.Println(failure)
	}
	fmt.Println(r)
	if !r.good() {
		os.Exit(1)
	}
}

// moduleDir is where the Go command keeps OPA, cases included: nothing is copied from there.
func moduleDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("where is the module github.com/open-policy-agent/opa? go list: %w", err)
}
