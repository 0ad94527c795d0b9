// Package rego compiles Rego policies to the bundles that package policy runs, and holds the default rules.
//
// It is for tools: it links OPA, which a service must not. A service embeds what was compiled here.
//
// The rules are plain Rego v1, which every stock OPA tool reads. What is refused is what the sandbox cannot or must not
// do: builtins that need a host, references to input that the contract does not have, other packages than those under
// secrets.
package rego

//go:generate go run ./internal/gen ../default.tar.gz
