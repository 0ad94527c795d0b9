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
	"errors"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
	"github.com/llorch/secrets-management/policy"
)

// Read lists the loads of an inventory. One fault makes the whole file bad input; it is the finding.
func Read(file string, data []byte) ([]descriptor.Load, []descriptor.Finding) {
	r := &reader{file: file}
	root, err := strictyaml.Document(data)
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
	root, err := strictyaml.Document(data)
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

type reader struct {
	file  string
	loads []descriptor.Load
}

func (r *reader) finding(err error) descriptor.Finding {
	f := &strictyaml.Fault{Line: 1, Column: 1, Message: err.Error()}
	_ = errors.As(err, &f)
	return descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: f.Message,
		Fix:      "an inventory is services: [{service, uid, loads: [{action, source, path or name, purpose}]}]; all but purpose is required",
		Position: descriptor.Position{File: r.file, Line: f.Line, Column: f.Column},
	}
}

func (r *reader) inventory(root *yaml.Node) error {
	top, err := strictyaml.Mapping(root, "services")
	if err != nil {
		return err
	}
	services, err := strictyaml.List(root, top, "services")
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
	m, err := strictyaml.Mapping(n, "service", "uid", "loads")
	if err != nil {
		return err
	}
	service, err := strictyaml.Text(n, m, "service")
	if err != nil {
		return err
	}
	if !descriptor.ValidService(service) {
		return strictyaml.At(m["service"], "service is not a name of visible ASCII characters")
	}
	uid, err := number(n, m, "uid")
	if err != nil {
		return err
	}
	loads, err := strictyaml.List(n, m, "loads")
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
	m, err := strictyaml.Mapping(n, "action", "source", "path", "name", "purpose")
	if err != nil {
		return l, err
	}
	action, err := strictyaml.Text(n, m, "action")
	if err != nil {
		return l, err
	}
	source, err := strictyaml.Text(n, m, "source")
	if err != nil {
		return l, err
	}
	l.Action, l.Source = policy.Action(action), policy.Source(source)
	l.Position = descriptor.Position{File: r.file, Line: n.Line, Column: n.Column}
	if !descriptor.ValidAction(l.Action) {
		return l, strictyaml.At(m["action"], "action%s is none of load_secret, load_key, derive_key", strictyaml.Quoted(action))
	}
	if err := r.reference(n, m, &l); err != nil {
		return l, err
	}
	if (l.Action == policy.DeriveKey) != (m["purpose"] != nil) {
		return l, strictyaml.At(n, "purpose belongs to derive_key, and derive_key needs one")
	}
	if m["purpose"] != nil {
		l.Purpose, err = strictyaml.Text(n, m, "purpose")
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
		return strictyaml.At(m["source"], "source%s is none of file, credential, env", strictyaml.Quoted(string(l.Source)))
	}
	if m[other] != nil {
		return strictyaml.At(m[other], "a load from source %s has a %s, not a %s", l.Source, key, other)
	}
	value, err := strictyaml.Text(n, m, key)
	if err != nil {
		return err
	}
	l.Line, l.Column = m[key].Line, m[key].Column
	if key == "name" {
		l.Name = value
		if !validName(value) {
			return strictyaml.At(m[key], "name is not 1 to 255 printable ASCII characters without / : =")
		}
		return nil
	}
	l.Path = value
	if !path.IsAbs(value) || path.Clean(value) != value || len(value) > 4095 || strings.ContainsRune(value, 0) {
		return strictyaml.At(m[key], "path is not absolute and clean (no //, /./, /../ or / at its end)")
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

func number(parent *yaml.Node, m map[string]*yaml.Node, key string) (int64, error) {
	n := m[key]
	if n == nil {
		return 0, strictyaml.At(parent, "key %q is missing: it is required, the number of the account that the service runs as", key)
	}
	uid, err := strconv.ParseUint(n.Value, 10, 32)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		return 0, strictyaml.At(n, "%s is not a user id: it is required, the number of the account that the service runs as", key)
	}
	return int64(uid), nil
}
