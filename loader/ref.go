package loader

import (
	"fmt"
	"log/slog"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/policy"
)

// Ref says where a secret is. The zero Ref is invalid.
type Ref struct {
	source   policy.Source
	value    string
	variable string // that named the path, for people
}

// File refers to a file by its absolute path. Double slashes, "." and ".." are resolved lexically, as [path.Clean]
// does, before the policy is asked; symbolic links are resolved by the walk after.
func File(path string) Ref { return Ref{source: policy.SourceFile, value: path} }

// FileFromEnv refers to the file whose path the environment variable holds, such as LLORCH_API_TOKEN_FILE, or to fallback
// where the variable is not set or empty; with neither, the load fails. The variable is read now; a program that has more rights than its caller
// (AT_SECURE, getauxval(3)) ignores it. It is a path like any other: only what is granted is loaded from it.
func FileFromEnv(variable, fallback string) Ref {
	if path, _ := lookupEnv(variable); path != "" {
		return Ref{policy.SourceFile, path, variable}
	}
	if fallback == "" {
		return Ref{policy.SourceFile, "", variable}
	}
	return File(fallback)
}

// Credential refers to a systemd credential by its name: the file of that name in $CREDENTIALS_DIRECTORY
// (systemd.exec(5), LoadCredential=). A name has 1 to 255 bytes of printable ASCII without "/" and ":".
func Credential(name string) Ref { return Ref{source: policy.SourceCredential, value: name} }

// Env refers to an environment variable.
//
// Deprecated: the value is visible in /proc and process listings, is inherited by children and cannot be erased. It is
// here to migrate away from; every use logs a warning.
func Env(name string) Ref { return Ref{source: policy.SourceEnv, value: name} }

// String is the kind and the quoted path or name, and the variable that named the path; "nothing" for the zero Ref. What a
// variable holds that is no absolute path is left out: somebody may have put the secret there.
func (r Ref) String() string {
	if r == (Ref{}) {
		return "nothing"
	}
	text := fmt.Sprintf("%s %q", r.source, r.shown())
	if r.variable != "" {
		text += fmt.Sprintf(" (from %q)", r.variable)
	}
	return text
}

// LogValue is String, for handlers of [log/slog], made only when something is logged.
func (r Ref) LogValue() slog.Value { return slog.StringValue(r.String()) }

// shown is the path or name as people may see it.
func (r Ref) shown() string {
	if r.variable != "" && r.value != "" && !path.IsAbs(r.value) {
		return "…"
	}
	return r.value
}

const maxName = 255

// validate checks the reference and returns its canonical form.
func (r Ref) validate() (Ref, error) {
	v := r.value
	switch {
	case r == Ref{}:
		return r, fmt.Errorf("%w: no reference: use File, Credential or Env to make one", ErrPath)
	case v == "" && r.variable != "":
		return r, fmt.Errorf("%w: the variable gives no path, and there is no fallback", ErrPath)
	case v == "":
		return r, fmt.Errorf("%w: empty", ErrPath)
	case strings.ContainsRune(v, 0):
		return r, fmt.Errorf("%w: it contains a NUL byte", ErrPath)
	case !utf8.ValidString(v):
		return r, fmt.Errorf("%w: it is not UTF-8", ErrPath)
	}
	switch r.source {
	case policy.SourceFile:
		if !path.IsAbs(v) {
			return r, fmt.Errorf("%w: not an absolute path", ErrPath)
		}
		r.value = path.Clean(v)
		return r, nil
	case policy.SourceCredential:
		return r, validateCredential(v)
	case policy.SourceEnv:
		if strings.Contains(v, "=") || len(v) > maxName {
			return r, fmt.Errorf("%w: not a variable name", ErrPath)
		}
		return r, nil
	default:
		return r, fmt.Errorf("%w: use File, Credential or Env to make a reference", ErrPath)
	}
}

// validateCredential applies systemd's own rule, credential_name_valid() in its source: dots and spaces are legal.
func validateCredential(name string) error {
	if len(name) > maxName || name == "." || name == ".." {
		return fmt.Errorf("%w: not a credential name", ErrPath)
	}
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7e || c == '/' || c == ':' {
			return fmt.Errorf("%w: a credential name is printable ASCII without slash and colon", ErrPath)
		}
	}
	return nil
}
