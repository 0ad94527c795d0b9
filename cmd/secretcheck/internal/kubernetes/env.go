package kubernetes

import (
	"path"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/plaintext"
	"github.com/llorch/secrets-management/policy"
)

// variables reads the environment of a container. Of several entries with one name the last is in force, and any is
// before what comes from envFrom.
func (p *pod) variables(c *value) error {
	for _, from := range c.get("envFrom").list() {
		if err := p.allKeys(c, from); err != nil {
			return err
		}
	}
	entries := c.get("env").list()
	last := map[string]*value{}
	for _, e := range entries {
		last[e.get("name").string()] = e
	}
	for _, e := range entries {
		name := e.get("name")
		if name.string() == "" {
			return e.fault("a variable without a name")
		}
		if err := p.variable(c, e, last[name.string()] == e); err != nil {
			return err
		}
	}
	return nil
}

func (p *pod) variable(c, e *value, inForce bool) error {
	name, ref := e.get("name"), e.get("valueFrom", "secretKeyRef")
	switch {
	case ref == nil:
		p.plainText(name.string(), e.get("value"), p.service, "a variable")
		if from := e.get("valueFrom", "configMapKeyRef"); from != nil && plaintext.Name(name.string()) {
			p.plain(from, p.service, "a ConfigMap")
		}
		return nil
	case e.get("value").string() != "":
		return e.fault("a variable with a value and a source")
	}
	secret, key := ref.get("name"), ref.get("key")
	if secret.string() == "" || key.string() == "" {
		return ref.fault("a secretKeyRef has a name and a key")
	}
	if err := rendered(name, secret, key); err != nil {
		return err
	}
	if !inForce {
		p.tell(descriptor.RuleDropped, key, p.service, "the same variable is set again further down: this one is not in force", "remove one of the two")
		return nil
	}
	p.optional(ref)
	l := descriptor.Load{
		Source: policy.SourceEnv, Name: name.string(), Origin: path.Join(p.namespace, secret.string(), key.string()), Position: p.position(key),
	}
	p.identity(&l, c)
	l.Doubt = nil // files are made otherwise elsewhere, variables are not
	p.act(&l)
	p.loads = append(p.loads, l)
	p.both(reference{secret.string(), key.string()}, key)
	return nil
}

// allKeys is a secret of which every key becomes a variable.
func (p *pod) allKeys(c, from *value) error {
	ref := from.get("secretRef")
	if ref == nil {
		return nil
	}
	secret := ref.get("name")
	if secret.string() == "" {
		return ref.fault("a secretRef has a name")
	}
	if err := rendered(secret, from.get("prefix")); err != nil {
		return err
	}
	p.optional(ref)
	l := descriptor.Load{
		Source: policy.SourceEnv, Name: from.get("prefix").string() + every, Origin: path.Join(p.namespace, secret.string()), Position: p.position(secret),
	}
	p.identity(&l, c)
	l.Doubt = &descriptor.Doubt{
		Rule: descriptor.RuleKeys, Identity: true,
		Message: "every key of the secret becomes a variable, and which there are is not known before",
		Fix:     "name each variable that the service needs with its own secretKeyRef, or better mount the secret with items",
	}
	p.loads = append(p.loads, l)
	p.both(reference{secret.string(), every}, secret)
	return nil
}

// both tells about a variable whose secret is mounted in the same pod.
func (p *pod) both(ref reference, at *value) {
	for _, file := range p.refs {
		if file.secret == ref.secret && (file.key == ref.key || file.key == every || ref.key == every) {
			p.tell(descriptor.RuleTwice, at, p.service, "the same secret is mounted as a file: in a variable it can be seen in /proc",
				"read the file, and remove the variable")
			return
		}
	}
}

func (p *pod) optional(v *value) {
	if o := v.get("optional"); o.isTrue() {
		p.tell(descriptor.RuleOptional, o, p.service, "the service starts without the secret when it is missing, whatever that means for it",
			"remove optional, so that the pod waits for the secret")
	}
}

// subPaths tells that a file mounted for itself stays what it was.
func (p *pod) subPaths(mounts []mount) {
	for _, m := range mounts {
		if sub := m.at.get("subPath"); m.subPath != "" {
			p.tell(descriptor.RuleSubPath, sub, p.service,
				"a secret mounted with subPath is not updated: once it changes the file counts as deleted, and the load fails",
				"mount the volume without subPath, in a directory of its own")
		}
	}
}

// plainText tells about a text that is called a secret. Of an annotation only what is behind its prefix tells. Charts
// write the hash of a secret as checksum/secret, so that pods are made anew when it changes.
func (f *manifest) plainText(name string, v *value, service, where string) {
	if !strings.HasPrefix(name, "checksum") && plaintext.Name(name[strings.LastIndexByte(name, '/')+1:]) && plaintext.Value(v.string()) {
		f.plain(v, service, where)
	}
}

func (f *manifest) plain(at *value, service, where string) {
	f.tell(descriptor.RulePlainText, at, service, "what is called a secret stands in "+where+", which everybody who sees the object can read",
		"put it into a Secret and mount that as a file")
}

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // G101: a path

// token tells about the token of the service account, which every container gets unless somebody says no.
func (p *pod) token() {
	at, account := p.spec.get("automountServiceAccountToken"), p.spec.get("serviceAccountName").string()
	if account == "" {
		account = p.spec.get("serviceAccount").string()
	}
	if account == "" {
		account = "default"
	}
	if at.isFalse() || !at.isTrue() && p.accounts[p.namespace+"/"+account] {
		return
	}
	if at == nil {
		at = p.spec
	}
	f := p.tell(descriptor.RuleToken, at, p.service,
		"each container gets the token of service account "+shown(account)+", and no grant lets the service load it",
		"set automountServiceAccountToken: false in the pod, or let the security team grant "+tokenPath)
	f.Source, f.Path = policy.SourceFile, tokenPath
	f.Unless = &descriptor.Load{Service: p.service, Source: policy.SourceFile, Path: tokenPath, UID: -1, UIDOpen: true}
}

// shown is a name of the API, as it is only repeated where it can be one.
func shown(name string) string {
	if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return "(not a name)"
	}
	return name
}

// rendered refuses names that are the text of a template.
func rendered(names ...*value) error {
	for _, n := range names {
		if strings.Contains(n.string(), "{{") {
			return &fault{line: n.line, column: n.column, message: "a template that was not rendered", fix: templateFix}
		}
	}
	return nil
}
