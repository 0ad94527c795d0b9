// Package sandbox runs a policy that OPA compiled to WebAssembly, and that nobody has to trust. It knows OPA's ABI and
// nothing of secrets: package policy puts a contract on top.
//
// A module is bounded, validated by wazero as it came, rewritten so that it owns its memory and pays for every
// instruction, and only then compiled. Its guest sees a document of JSON as input, its own data, and the functions of
// host.go, which are the whole attack surface. Time, fuel, memory, call stack, input and result are limited in every call,
// that of the start function included. A guest that fails in any way is thrown away.
package sandbox
