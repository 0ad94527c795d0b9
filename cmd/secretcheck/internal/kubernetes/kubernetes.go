// Package kubernetes reads manifests: what kubectl applies, and what Helm and Kustomize print. It follows the API server
// and the kubelet, not YAML's fashions: a field that they drop is no load, and the file that a service will find is
// described as the kubelet makes it.
//
// A document that the API server would refuse is one finding with its place, and has no load. The others are read.
package kubernetes

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// Reader reads manifests. It is not safe for concurrent use.
type Reader struct{ schema schema }

// NewReader makes a Reader.
func NewReader() *Reader { return &Reader{parseSchema()} }

// Read lists the loads of a file and what is to be told about it.
func (r *Reader) Read(file string, data []byte) ([]descriptor.Load, []descriptor.Finding) {
	f := &manifest{file: file, schema: r.schema, accounts: map[string]bool{}, told: map[string]int{}}
	var docs []*value
	for _, p := range split(data) {
		more, err := p.parse()
		docs = append(docs, more...)
		f.refused(err)
	}
	var objects []object
	for _, d := range docs {
		objects = f.objects(objects, d, 0)
	}
	for _, o := range objects {
		f.account(o)
	}
	for _, o := range objects {
		f.refused(f.object(o))
	}
	return f.loads, f.findings
}

// manifest is a file that is being read.
type manifest struct {
	file     string
	schema   schema
	accounts map[string]bool // service accounts of the file that want no token, by namespace/name

	loads    []descriptor.Load
	findings []descriptor.Finding
	told     map[string]int // findings by rule
}

// object is one thing of the API.
type object struct {
	group, kind string
	body        *value
}

// objects takes lists apart. The items of a typed list need not say what they are.
func (f *manifest) objects(known []object, v *value, depth int) []object {
	if v.kind == null {
		return known
	}
	kind, version := v.get("kind").string(), v.get("apiVersion").string()
	if kind == "" || version == "" || depth > maxDepth {
		f.refused(v.fault("neither apiVersion nor kind may be missing"))
		return known
	}
	items := v.get("items")
	of, typed := strings.CutSuffix(kind, "List")
	if !typed || items == nil || items.kind != list {
		group, _, found := strings.Cut(version, "/")
		if !found {
			group = ""
		}
		return append(known, object{group, kind, v})
	}
	for _, item := range items.items {
		if of != "" && item.kind == mapping && item.get("kind") == nil {
			item.fields = append(item.fields, field{name: "kind", value: &value{kind: text, text: of}},
				field{name: "apiVersion", value: &value{kind: text, text: version}})
		}
		known = f.objects(known, item, depth+1)
	}
	return known
}

// refused tells about a fault.
func (f *manifest) refused(err error) {
	if err == nil {
		return
	}
	at := &fault{line: 1, column: 1, message: err.Error()}
	_ = errors.As(err, &at)
	fix := at.fix
	if fix == "" {
		fix = "correct it: the API server would refuse it, so nothing of this object was judged"
	}
	f.findings = append(f.findings, descriptor.Finding{
		Rule: descriptor.RuleUnparsable, Severity: policy.SeverityError, Message: at.message, Fix: fix,
		Position: descriptor.Position{File: f.file, Line: at.line, Column: at.column},
	})
}

// maxFindings bounds how many findings of one rule a file can have: there is no end to unknown fields.
const maxFindings = 1000

// tell adds a finding of severity warning.
func (f *manifest) tell(rule string, at *value, service, message, fix string) *descriptor.Finding {
	f.told[rule]++
	if f.told[rule] > maxFindings+1 {
		return &descriptor.Finding{}
	}
	found := descriptor.Finding{
		Rule: rule, Severity: policy.SeverityWarning, Message: message, Fix: fix, Service: service,
		Position: f.position(at),
	}
	if f.told[rule] == maxFindings+1 {
		found.Message, found.Fix = fmt.Sprintf("more than %d of these in the file: the rest is not listed", maxFindings), ""
	}
	f.findings = append(f.findings, found)
	if f.told[rule] > maxFindings {
		return &descriptor.Finding{}
	}
	return &f.findings[len(f.findings)-1]
}

func (f *manifest) position(v *value) descriptor.Position {
	return descriptor.Position{File: f.file, Line: max(v.line, 1), Column: max(v.column, 1)}
}

// unknown tells about a field that there is none of.
func (f *manifest) unknown(service string) func(field) {
	return func(u field) {
		f.tell(descriptor.RuleUnknownField, &value{line: u.line, column: u.col}, service,
			"there is no field"+quoted(u.name)+" here: the API server drops it", "correct its name or its place, or remove it")
	}
}
