package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what any attempt to print a Secret or a Key gives.
const Redacted = "[REDACTED]"

// noCopy makes go vet flag copies. A copy is harmless, since it shares the handle, but it hides who has to close.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// handle is all that a Secret or a Key holds: a function, because fmt, encoders and deep walkers that use reflection
// (they ignore methods on unexported fields, golang/go#18281) cannot look inside one, while they follow a pointer.
//
// It is embedded so that the methods below, which have value receivers, also protect a copied value; on the outer
// types value receivers would themselves be copies that go vet flags. The price: a struct that embeds a *Secret has these
// methods, and while the pointer is nil encoding/json and others panic on it, as on an embedded nil *time.Time. Methods
// of *Secret itself could return an error there; but they would hide the ones below from a copied value, which would then
// be encoded as {} and printed as an address, without an error. A field with a name has neither problem, and
// secrettest.Check finds the embedding.
type handle struct {
	open func() *cell
}

// Format implements [fmt.Formatter]: [Redacted], whatever the verb and flags.
func (handle) Format(f fmt.State, _ rune) {
	// An error of the writer is the caller's to find: Format has no way to report one.
	_, _ = io.WriteString(f, Redacted)
}

// String returns [Redacted].
func (handle) String() string { return Redacted }

// GoString returns [Redacted].
func (handle) GoString() string { return Redacted }

// LogValue implements [slog.LogValuer]: [Redacted], for a nil Secret too, an optional field that was left out. A copied
// value, which go vet flags, cannot have both: slog takes it for text to encode, and logs [ErrNotSerializable].
func (s *Secret) LogValue() slog.Value { return slog.StringValue(Redacted) }

// LogValue is [Secret.LogValue] for a key.
func (k *Key) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText returns [ErrNotSerializable]; encoding/xml asks for it too.
func (handle) MarshalText() ([]byte, error) { return nil, ErrNotSerializable }

// MarshalBinary returns [ErrNotSerializable].
func (handle) MarshalBinary() ([]byte, error) { return nil, ErrNotSerializable }

// MarshalJSON returns [ErrNotSerializable].
func (handle) MarshalJSON() ([]byte, error) { return nil, ErrNotSerializable }

// MarshalYAML returns [ErrNotSerializable].
func (handle) MarshalYAML() (any, error) { return nil, ErrNotSerializable }

// GobEncode returns [ErrNotSerializable].
func (handle) GobEncode() ([]byte, error) { return nil, ErrNotSerializable }

// Decoding is refused too: a decoder holds the value in ordinary memory, and yaml quotes what it cannot decode in its
// error.

// UnmarshalText returns [ErrNotSerializable]; encoding/xml asks for it too.
func (handle) UnmarshalText([]byte) error { return ErrNotSerializable }

// UnmarshalBinary returns [ErrNotSerializable].
func (handle) UnmarshalBinary([]byte) error { return ErrNotSerializable }

// UnmarshalJSON returns [ErrNotSerializable].
func (handle) UnmarshalJSON([]byte) error { return ErrNotSerializable }

// UnmarshalYAML returns [ErrNotSerializable].
func (handle) UnmarshalYAML(func(any) error) error { return ErrNotSerializable }

// GobDecode returns [ErrNotSerializable].
func (handle) GobDecode([]byte) error { return ErrNotSerializable }
