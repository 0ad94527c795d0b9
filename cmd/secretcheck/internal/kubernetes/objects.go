package kubernetes

import (
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// account notes a service account that wants no token, for the pods of the file.
func (f *manifest) account(o object) {
	if o.group == "" && o.kind == "ServiceAccount" && o.body.get("automountServiceAccountToken").isFalse() {
		namespace := o.body.get("metadata", "namespace").string()
		if namespace == "" {
			namespace = "?"
		}
		f.accounts[namespace+"/"+o.body.get("metadata", "name").string()] = true
	}
}

// values tells where values of secrets stand, and says nothing about them.
func (f *manifest) values(o object) {
	switch o.kind {
	case "Secret":
		for _, name := range []string{"data", "stringData"} {
			if data := o.body.get(name); !data.empty() {
				for _, d := range data.fields {
					if !d.value.empty() {
						f.tell(descriptor.RuleManifest, d.value, "", "the value of a secret stands in the manifest: whoever reads the file has it",
							"make the Secret outside of the repository, or encrypt it there, and change the value")
					}
				}
			}
		}
	case "ConfigMap":
		for _, name := range []string{"data", "binaryData"} {
			if data := o.body.get(name); data != nil {
				for _, d := range data.fields {
					f.plainText(d.name, d.value, "", "a ConfigMap")
					f.texts(d.value, "", "")
				}
			}
		}
	}
	if annotations := o.body.get("metadata", "annotations"); annotations != nil {
		for _, a := range annotations.fields {
			f.plainText(a.name, a.value, "", "an annotation")
		}
	}
}
