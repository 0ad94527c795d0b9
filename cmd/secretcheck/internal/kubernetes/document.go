package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
)

// MaxFile bounds what is read of a file: the output of a large chart, definitions of resources included. maxDocument
// bounds one object; the API server itself stores none that is larger than 1.5 MiB.
const (
	MaxFile     = 16 << 20
	maxDocument = 1 << 20
)

// Is reports whether a file looks like a manifest: apiVersion and kind, at the margin or in a document that is written in
// braces. It need not be YAML: a template that was not rendered is to be told about.
func Is(data []byte) bool {
	if first := bytes.TrimLeft(data, " \t\r\n\ufeff"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		return hasKey(data, "apiVersion", false) && hasKey(data, "kind", false)
	}
	return hasKey(data, "apiVersion", true) && hasKey(data, "kind", true)
}

// hasKey looks for a key, in quotes or not, at the margin or anywhere. An expression for it would be compiled at every
// start of the program.
func hasKey(data []byte, name string, margin bool) bool {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(name))
		if i < 0 {
			return false
		}
		start := at + i
		at = start + len(name)
		rest := data[at:]
		if start > 0 && (data[start-1] == '"' || data[start-1] == '\'') {
			start--
			rest = bytes.TrimLeft(rest, `"'`)
		}
		if !margin {
			rest = bytes.TrimLeft(rest, " \t\r\n")
		}
		if bytes.HasPrefix(rest, []byte(":")) && (!margin || start == 0 || data[start-1] == '\n') {
			return true
		}
	}
}

// part is one document as kubectl cuts a file: at lines that begin with three dashes.
type part struct {
	text   []byte
	offset int // lines before it
}

func split(data []byte) []part {
	var parts []part
	start, first, line := 0, 0, 0
	for pos := 0; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if separates(data[pos:end]) && pos > start {
			parts = append(parts, part{data[start:pos], first})
			start, first = pos, line
		}
		pos = end
	}
	return append(parts, part{data[start:], first})
}

func separates(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// parse reads the documents of a part: more than one where three dots end the first. What comes behind a fault is not
// read.
func (p part) parse() (docs []*value, err error) {
	if len(p.text) > maxDocument {
		return nil, &fault{line: p.offset + 1, column: 1, message: fmt.Sprintf("a document that is larger than %d bytes", maxDocument)}
	}
	if line, column := strictyaml.Invalid(p.text); line > 0 {
		return nil, &fault{line: line + p.offset, column: column, message: "not UTF-8"}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(halves(p.text)))
	b := &builder{offset: p.offset, left: maxValues}
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, p.explain(syntaxFault(err, p.offset))
		}
		if len(doc.Content) == 0 {
			continue
		}
		v, err := b.value(doc.Content[0], 0)
		if err != nil {
			return docs, p.explain(err)
		}
		docs = append(docs, v)
	}
}

const templateFix = "render it first and check what comes out: helm template … | secretcheck check -"

// explain says of what does not parse that it is a template, where it looks like one.
func (p part) explain(err error) error {
	var f *fault
	if errors.As(err, &f) && bytes.Contains(p.text, []byte("{{")) {
		f.message, f.fix = "a template that was not rendered: "+f.message, templateFix
	}
	return err
}

// syntaxFault is an error of the YAML parser, without the text of its message, which can quote the file.
func syntaxFault(err error, offset int) error {
	return &fault{line: strictyaml.Line(err) + offset, column: 1, message: "not YAML"}
}

// halves replaces, in a document in braces, the halves of characters that JSON escapes in two parts and YAML does not
// know. What stood there is lost; no name in a manifest can have it.
func halves(data []byte) []byte {
	if first := bytes.TrimLeft(data, " \t\r\n-"); len(first) == 0 || first[0] != '{' || !bytes.Contains(data, []byte(`\u`)) {
		return data
	}
	out := bytes.Clone(data)
	for i := 0; i+6 <= len(out); i++ {
		if out[i] != '\\' {
			continue
		}
		if out[i+1] == 'u' && (out[i+2]|0x20) == 'd' && bytes.IndexByte([]byte("89abcdefABCDEF"), out[i+3]) >= 0 {
			copy(out[i+2:], "fffd")
		}
		i++
	}
	return out
}
