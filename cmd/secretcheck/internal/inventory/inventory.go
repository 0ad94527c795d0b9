// Package inventory reads the plain list of loads that a team writes by hand where no other descriptor says it:
//
//	services:
//	  - service: queen-rbee
//	    uid: 990
//	    loads:
//	      - {action: load_secret, source: file, path: /etc/llorch/secrets/api-token}
//	      - {action: derive_key, source: credential, name: worker_token, purpose: llorch-seal-key-v1}
//
// Reading is strict: a key that is unknown or given twice is an error with its place, since a misspelt one would hide
// a load from the check.
package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Read lists the loads of an inventory. One fault makes the whole file bad input; it is the finding.
func Read(file string, data []byte) ([]descriptor.Load, []descriptor.Finding) {
	r := &reader{file: file}
	root, err := document(data)
	if err == nil {
		err = r.inventory(root)
	}
	if err != nil {
		return nil, []descriptor.Finding{r.finding(err)}
	}
	return r.loads, nil
}

// IsInventory reports whether YAML looks like one of ours: a list under "services". A Compose file has a mapping there.
// What does not parse is taken for one, so that the fault is told.
func IsInventory(data []byte) bool {
	root, err := document(data)
	if err != nil {
		return true
	}
	if root.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "services" {
			return root.Content[i+1].Kind == yaml.SequenceNode
		}
	}
	return false
}

// fault is an error at a place.
type fault struct {
	line, column int
	message      string
}

func (f *fault) Error() string { return f.message }

func at(n *yaml.Node, format string, args ...any) error {
	return &fault{max(n.Line, 1), max(n.Column, 1), fmt.Sprintf(format, args...)}
}

// document parses the one YAML document of a file into nodes, which expands no alias.
func document(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := decoder.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return nil, &fault{1, 1, "the file is empty"}
	case err != nil:
		return nil, syntaxFault(err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &fault{max(more.Line, 1), max(more.Column, 1), "more than one YAML document"}
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`line ([0-9]+): (.*)`)

// syntaxFault finds the line in the parser's message, which is the only place where it is told.
func syntaxFault(err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return &fault{1, 1, "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	line, err := strconv.Atoi(m[1])
	if err != nil || line < 1 {
		line = 1
	}
	return &fault{line, 1, "not YAML: " + m[2]}
}

type reader struct {
	file  string
	loads []descriptor.Load
}

func (r *reader) finding(err error) descriptor.Finding {
	f := &fault{1, 1, err.Error()}
	_ = errors.As(err, &f)
	return descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: f.message,
		Fix:      "an inventory is services: [{service, uid, loads: [{action, source, path or name, purpose}]}]; all but purpose is required",
		Position: descriptor.Position{File: r.file, Line: f.line, Column: f.column},
	}
}

func (r *reader) inventory(root *yaml.Node) error {
	top, err := mapping(root, "services")
	if err != nil {
		return err
	}
	services, err := list(root, top, "services")
	if err != nil {
		return err
	}
	for _, n := range services {
		if err := r.service(n); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) service(n *yaml.Node) error {
	m, err := mapping(n, "service", "uid", "loads")
	if err != nil {
		return err
	}
	service, err := text(n, m, "service")
	if err != nil {
		return err
	}
	if !descriptor.ValidService(service) {
		return at(m["service"], "service is not a name of visible ASCII characters")
	}
	uid, err := number(n, m, "uid")
	if err != nil {
		return err
	}
	loads, err := list(n, m, "loads")
	if err != nil {
		return err
	}
	for _, l := range loads {
		load, err := r.load(l)
		if err != nil {
			return err
		}
		load.Service, load.UID = service, uid
		r.loads = append(r.loads, load)
	}
	return nil
}

func (r *reader) load(n *yaml.Node) (l descriptor.Load, err error) {
	m, err := mapping(n, "action", "source", "path", "name", "purpose")
	if err != nil {
		return l, err
	}
	action, err := text(n, m, "action")
	if err != nil {
		return l, err
	}
	source, err := text(n, m, "source")
	if err != nil {
		return l, err
	}
	l.Action, l.Source = policy.Action(action), policy.Source(source)
	l.Position = descriptor.Position{File: r.file, Line: n.Line, Column: n.Column}
	if !descriptor.ValidAction(l.Action) {
		return l, at(m["action"], "action %.64q is none of load_secret, load_key, derive_key", action)
	}
	if err := r.reference(n, m, &l); err != nil {
		return l, err
	}
	if (l.Action == policy.DeriveKey) != (m["purpose"] != nil) {
		return l, at(n, "purpose belongs to derive_key, and derive_key needs one")
	}
	if m["purpose"] != nil {
		l.Purpose, err = text(n, m, "purpose")
	}
	return l, err
}

// reference reads the path of a file, or the name of anything else.
func (r *reader) reference(n *yaml.Node, m map[string]*yaml.Node, l *descriptor.Load) (err error) {
	key, other := "name", "path"
	switch l.Source {
	case policy.SourceFile:
		key, other = "path", "name"
	case policy.SourceCredential, policy.SourceEnv:
	default:
		return at(m["source"], "source %.64q is none of file, credential, env", string(l.Source))
	}
	if m[other] != nil {
		return at(m[other], "a load from source %s has a %s, not a %s", l.Source, key, other)
	}
	value, err := text(n, m, key)
	if err != nil {
		return err
	}
	l.Line, l.Column = m[key].Line, m[key].Column
	if key == "name" {
		l.Name = value
		if !validName(value) {
			return at(m[key], "name is not 1 to 255 printable ASCII characters without / : =")
		}
		return nil
	}
	l.Path = value
	if !path.IsAbs(value) || path.Clean(value) != value || len(value) > 4095 || strings.ContainsRune(value, 0) {
		return at(m[key], "path is not absolute and clean (no //, /./, /../ or / at its end)")
	}
	return nil
}

// validName accepts the names that systemd or an environment can have.
func validName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 127 || strings.IndexByte("/:=", s[i]) >= 0 {
			return false
		}
	}
	return true
}
