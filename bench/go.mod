// Peers to measure against live here, so that they never reach a user's go.sum.
module github.com/llorch/secrets-management/bench

go 1.26.0

require (
	github.com/awnumar/memguard v0.23.0
	github.com/llorch/secrets-management v0.0.0
)

require (
	github.com/awnumar/memcall v0.4.0 // indirect
	github.com/tetratelabs/wazero v1.12.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/llorch/secrets-management => ../
