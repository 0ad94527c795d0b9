package secret

import "errors"

// The verdicts that a caller may branch on with [errors.Is]. No text ever contains a secret byte.
var (
	// ErrClosed answers any use of a Secret or Key after Close, and of a nil or zero one.
	ErrClosed = errors.New("secret: closed")
	// ErrEmpty says that there would be no byte in the secret.
	ErrEmpty = errors.New("secret: empty")
	// ErrTooLarge says that a secret would be longer than [MaxSize].
	ErrTooLarge = errors.New("secret: too large")
	// ErrInvalidFormat says that the content is not what the type asks for, such as 64 hex digits.
	ErrInvalidFormat = errors.New("secret: invalid format")
	// ErrNotSerializable is what every encoder and decoder gets.
	ErrNotSerializable = errors.New("secret: not serializable")
	// ErrNotLocked says that the system would not lock the pages of a secret whose [Options] require it. The reason that
	// [Degradation] gives at [LevelHeap] matches it too.
	ErrNotLocked = errors.New("secret: memory not locked")
	// ErrNoMemory says that the system has no pages to give.
	ErrNoMemory = errors.New("secret: no memory")
	// ErrCorrupted says that something wrote past the end of a slot, found when the slot was wiped. Memory of this
	// process was overwritten by unsafe code: restart it, and look for that code.
	ErrCorrupted = errors.New("secret: memory corrupted")

	errNilFunc = errors.New("secret: nil function")
)
