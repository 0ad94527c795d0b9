// Command minimal is the smallest service that loads a secret: make check measures what linking loader costs.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "minimal:", err)
		os.Exit(1)
	}
}

func run() error {
	engine, err := policy.Default([]byte(`{"secrets":{"services":{"minimal":[
		{"id":"token","actions":["load_secret"],"source":"credential","names":["api_token"]}]}}}`))
	if err != nil {
		return err
	}
	defer engine.Close()
	l, err := loader.New(loader.Config{Service: "minimal", Policy: engine, Audit: loader.NewAuditWriter(os.Stdout)})
	if err != nil {
		return err
	}
	token, err := l.LoadSecret(context.Background(), loader.Credential("api_token"))
	if err != nil {
		return err
	}
	return token.Close()
}
