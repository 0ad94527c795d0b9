// Package report writes the result of a check for people and for machines. Whatever comes from a descriptor, a host or
// a policy is bounded and escaped here: a report is read on terminals and in CI logs, and none of it is trusted.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
)

// schemaVersion changes when a consumer of the old form would go wrong.
const schemaVersion = 1

// JSON writes the report for machines.
func JSON(w io.Writer, r check.Result) error {
	return Value(w, struct {
		SchemaVersion int `json:"schema_version"`
		check.Result
	}{schemaVersion, r})
}

// Value writes any value as indented JSON in which no character can act on a terminal.
func Value(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(harmless(b.Bytes()))
	return err
}

// harmless escapes what encoding/json leaves: the C1 controls, which terminals obey, and everything else without a
// shape of its own, such as the marks that turn the direction of writing. Outside ASCII, JSON has characters in strings
// only, so an escape is always legal.
func harmless(b []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(b) {
		switch {
		case r == '\n' || r < 0x7f || r > 0x7f && unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("##"), []byte(`#\u0023`)) // see Text
}
