package kubernetes

import (
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/plaintext"
)

// texts looks for secrets in the texts of an object, besides variables and annotations: passwords in addresses wherever they
// are, and what is called a secret among arguments, headers and options. Name is that of the field.
func (f *manifest) texts(v *value, name, service string) {
	if v.kind == text && plaintext.Address(v.text) {
		f.tell(descriptor.RulePlainText, v, service, "an address has a password in it, which everybody who sees the object can read",
			"put it into a Secret and mount that as a file")
	}
	switch name {
	case "command", "args":
		f.arguments(v, service)
	case "httpHeaders":
		for _, h := range v.items {
			if header := h.get("name").string(); strings.EqualFold(header, "authorization") && !h.get("value").empty() {
				f.plain(h.get("value"), service, "a header")
			} else {
				f.plainText(header, h.get("value"), service, "a header")
			}
		}
	case "labels", "options", "volumeAttributes", "userAnnotations":
		for _, o := range v.fields {
			f.plainText(o.name, o.value, service, "a field")
		}
	}
	for _, i := range v.items {
		f.texts(i, "", service)
	}
	for _, child := range v.fields {
		f.texts(child.value, child.name, service)
	}
}

// arguments looks at --password=VALUE, and --password followed by its value.
func (f *manifest) arguments(v *value, service string) {
	for i, a := range v.items {
		name, own, with := strings.Cut(a.string(), "=")
		if !strings.HasPrefix(name, "-") || !plaintext.Name(name) {
			continue
		}
		switch {
		case with && plaintext.Value(own):
			f.plain(a, service, "an argument")
		case !with && i+1 < len(v.items) && !strings.HasPrefix(v.items[i+1].string(), "-") && plaintext.Value(v.items[i+1].string()):
			f.plain(v.items[i+1], service, "an argument")
		}
	}
}
