// Package secret keeps tokens, passwords and keys where they are hard to leak, and is the only home of secret bytes in
// this module. A [Secret] is a byte string of any length up to [MaxSize], a [Key] is exactly [KeySize] bytes. Close
// both as soon as they are not needed any more.
//
//	tok, err := secret.FromBytes(raw) // raw is wiped
//	defer tok.Close()
//	if !tok.Verify(presented) { … }
//
// What is promised:
//
//   - The bytes live outside the Go heap: the collector never copies them, and no other value shares their slot. Pages
//     are excluded from core dumps (Linux), locked against swapping where the system allows it, and lie between
//     inaccessible guard pages. [ProtectionLevel] and the Level methods say what the system granted, [Degradation] why it
//     was not more, and [Options] make less than locked memory an error. A small lock limit or a seccomp filter is never a
//     panic, and never kills the process.
//   - Every byte is overwritten on Close, at the end of the last use if one is running, or when the collector finds an
//     unclosed secret unreachable, which [Options] can have reported. A slot is zero before anybody gets it again.
//   - fmt with every verb (but %T and %p, which do not look at the value) and slog give [REDACTED]; encoders get
//     [ErrNotSerializable]. Walkers that ignore methods, such as fmt on an unexported field, find a function value, and
//     nothing can look into that. Package secrettest checks the same for types of your own.
//   - Verify takes a time that depends on the length of its input alone, not on the secret's content or length.
//   - Nothing here panics, whatever the input; a nil, zero or closed Secret or Key answers [ErrClosed] or false.
//     A panic of a callback passes through, after the clean-up.
//   - Every method is safe for concurrent use.
//
// What is not promised:
//
//   - A nil *Secret has the methods for printing and encoding from a value: to call one by name panics, as with a nil
//     *time.Time, and so do encoders of a struct that embeds one. Give the field a name: fmt prints <nil> then, slog
//     [REDACTED], json and yaml write null. encoding/gob panics on a nil pointer of any type, if that is all it is given.
//   - An error for each struct that holds a secret: encoders that skip unexported fields skip this one, and of two that are
//     embedded side by side, such as a *Secret and a *Key, Go promotes no method: json and xml leave both out. A copied
//     value, which go vet flags, is in slog the error and not [REDACTED]. No byte is shown.
//   - Protection from root, from a debugger that may attach to the process, or from hostile code inside it. Against
//     debuggers of the same user there is [HardenProcess].
//   - Copies that a caller makes: the string of Expose, bytes kept from a Use callback. Slices handed to callbacks are
//     dead when the callback returns: touching one later may read zeros or another secret, or crash.
//   - Registers and the stack: what SHA-256 and copies leave there for a moment is not erased, unless the program is built
//     with GOEXPERIMENT=runtimesecret (Go 1.26, Linux on amd64 and arm64): decoding, verification and MACs then run inside
//     runtime/secret.Do. A search of the whole memory of a process finds nothing outside the arena either way; another
//     processor or Go version may leave something.
//   - Freedom from swap at [LevelHeap]: RLIMIT_MEMLOCK was too small, or the system has no way to lock.
//   - Hibernation writes locked memory to disk, except at [LevelMemfdSecret], where Linux does not hibernate.
//   - The best level under systemd's SystemCallFilter= or in a container: where a seccomp filter is active,
//     memfd_secret(2) is not even tried, because a filter that does not know it may kill the process, and no harmless way
//     tells what a filter does. Secrets are on locked pages then.
//   - One secret used by many processors at once: each Use counts on the same cache line, and 10 ns become more. Verify,
//     fifty times as long, does scale.
//
// Errors, for errors.Is: [ErrClosed], [ErrEmpty], [ErrTooLarge], [ErrInvalidFormat], [ErrNotLocked] (locked memory was
// required), [ErrNoMemory], [ErrCorrupted] (the process overwrote its own memory) and [ErrNotSerializable].
//
// The bytes of all secrets share one arena of few pages, since a locked page of its own for each secret exhausts the
// usual lock limit of 64 KiB after sixteen of them. The arena is one for the process, as the lock limit and the pages
// are; it is created on first use, has no configuration and no order of initialization, and no secret can be reached
// through it: all state that a caller can name is in the values that it holds. Hence [Options] belong to a secret, too.
//
// Compared with a mapping for each secret (measured against memguard v0.23: bench/), sharing makes a secret of 64 bytes
// fifty times as cheap to create and close, and 10,000 of them lock less than 2 MiB. What it gives up: a run past the end
// of a secret does not fault at once, but meets a canary, which is checked on Close.
package secret
