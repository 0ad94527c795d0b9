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
//     inaccessible guard pages. [ProtectionLevel] and the Level methods say what the system granted.
//   - Every byte is overwritten on Close, at the end of the last use if one is running, or when the collector finds an
//     unclosed secret unreachable. A slot is zero before anybody gets it again.
//   - fmt with every verb (but %T and %p, which do not look at the value) and slog give [REDACTED]; encoders get
//     [ErrNotSerializable]. Walkers that ignore methods, such as fmt on an unexported field, find a function value, and
//     nothing can look into that.
//   - Verify takes a time that depends on the length of its input alone, not on the secret's content or length.
//   - Nothing here panics, whatever the input; a nil, zero or closed Secret or Key answers [ErrClosed] or false.
//     A panic of a callback passes through, after the clean-up.
//   - Every method is safe for concurrent use.
//
// What is not promised:
//
//   - Protection from root, from a debugger that may attach to the process, or from hostile code inside it.
//   - Copies that a caller makes: the string of Expose, bytes kept from a Use callback. Slices handed to callbacks are
//     dead when the callback returns: touching one later may read zeros or another secret, or crash.
//   - Registers and the stack: what SHA-256 and copies leave there for a moment is not erased.
//   - Freedom from swap at [LevelHeap]: RLIMIT_MEMLOCK was too small, or the system has no way to lock.
//   - Hibernation writes locked memory to disk, except at [LevelMemfdSecret], where Linux does not hibernate.
//   - The best level under systemd's SystemCallFilter= or in a container: where a seccomp filter is active,
//     memfd_secret(2) is not even tried, because a filter that does not know it may kill the process.
//
// The bytes of all secrets share one arena of few pages, since a locked page of its own for each secret exhausts the
// usual lock limit of 64 KiB after sixteen of them. The arena is one for the process, as the lock limit and the pages
// are; it is created on first use, has no configuration and no order of initialization, and no secret can be reached
// through it: all state that a caller can name is in the values that it holds.
package secret
