package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// scalarCases are scalars as people write them, and as they do not.
var scalarCases = []string{
	"0", "1", "-1", "+1", "420", "0644", "0o644", "0O644", "0x1a4", "0b110", "-0b1", "1_000", "0_7", "_1", "08", "09.5", "1.0", "1.", ".5", "1e3", "1e400", "-.5e-3",
	"0o", "0x", "1 2", "10k", "1:30", "0400", "'0400'", `"0400"`, "!!int 0400", "!!str 0400", "!!int '0400'", "!!str yes", "99999999999999999999", "9223372036854775807",
	"true", "True", "TRUE", "tRUE", "yes", "Yes", "y", "Y", "on", "On", "no", "n", "N", "off", "OFF", "'yes'", `"n"`, "false", "!!bool yes",
	"null", "~", "Null", "NULL", "''", "", ".nan", ".inf", "-.Inf", "2001-01-01", "2001-01-01T00:00:00Z", "<<", "=", "abc", "|-\n    multi\n    line", ">\n    folded",
	"!!binary aGVsbG8=", "0.1.2", "1e", "e1", "+", "-", "--1", "0b2", "0o9", "0xg", "1__0", "{}", "[]",
}

// TestScalarsAgainstTheAPIServersReader: CHK-1103. What a scalar is where a text, a whole number or a switch belongs: the
// reader takes what k8s.io/api takes behind sigs.k8s.io/yaml, and gets the same.
func TestScalarsAgainstTheAPIServersReader(t *testing.T) {
	s := parseSchema()
	accepted := 0
	for _, c := range scalarCases {
		for _, at := range []struct{ name, of string }{{"value", "EnvVar"}, {"mode", "KeyToPath"}, {"readOnly", "VolumeMount"}} {
			doc := fmt.Sprintf("%s: %s\n", at.name, c)
			want, wantErr := decode(at.of, doc)
			docs, err := part{text: []byte(doc)}.parse()
			if err == nil && len(docs) == 1 {
				err = s.check(docs[0], at.of, func(field) {})
			}
			if (err == nil) != (wantErr == nil) {
				t.Errorf("%q as %s: %v, the API server's reader: %v", c, at.name, err, wantErr)
				continue
			}
			if err != nil {
				continue
			}
			accepted++
			v := docs[0].get(at.name)
			got := fmt.Sprint(v.string())
			switch at.name {
			case "mode":
				got = "<nil>"
				if n := v.number(); n != nil {
					got = fmt.Sprint(*n)
				}
			case "readOnly":
				got = fmt.Sprint(v.isTrue())
			}
			if got != want {
				t.Errorf("%q as %s: %q, the API server's reader: %q", c, at.name, got, want)
			}
		}
	}
	if accepted < 60 || accepted > 2*len(scalarCases) {
		t.Errorf("%d of %d accepted: too little is shown", accepted, 3*len(scalarCases))
	}
}

// decode is the way of a manifest to the API server.
func decode(of, doc string) (string, error) {
	raw, err := yaml.YAMLToJSONStrict([]byte(doc))
	if err != nil {
		return "", err
	}
	switch of {
	case "EnvVar":
		var v corev1.EnvVar
		err = json.Unmarshal(raw, &v)
		return v.Value, err
	case "KeyToPath":
		var v corev1.KeyToPath
		if err = json.Unmarshal(raw, &v); v.Mode == nil {
			return "<nil>", err
		}
		return fmt.Sprint(*v.Mode), err
	}
	var v corev1.VolumeMount
	err = json.Unmarshal(raw, &v)
	return fmt.Sprint(v.ReadOnly), err
}

// TestManifestsAgainstTheTypes: CHK-1103. k8s.io/api finds unknown fields and wrong types in the same documents.
func TestManifestsAgainstTheTypes(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.yaml")
	compared, complaints := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range split(data) {
			docs, err := p.parse()
			if err != nil || len(docs) != 1 || docs[0].get("kind").string() == "List" {
				continue
			}
			object := typed(docs[0].get("kind").string())
			if object == nil {
				continue
			}
			raw, err := yaml.YAMLToJSONStrict(p.text)
			if err != nil {
				t.Errorf("%s:%d: %v", file, p.offset, err)
				continue
			}
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			want := d.Decode(object)
			unknown := 0
			got := parseSchema().check(docs[0], docs[0].get("kind").string(), func(field) { unknown++ })
			compared++
			if want != nil {
				complaints++
			}
			if (want != nil) != (got != nil || unknown > 0) || want != nil && (unknown > 0) != strings.Contains(want.Error(), "unknown field") {
				t.Errorf("%s:%d: %v and %d unknown fields; k8s.io/api: %v", file, p.offset, got, unknown, want)
			}
		}
	}
	if compared < 30 || complaints < 3 {
		t.Errorf("%d documents, %d with complaints: too little is shown", compared, complaints)
	}
}

// typed is an empty object of a kind, nil for others.
func typed(kind string) any {
	for _, r := range roots() {
		if v := newOf(r); nameOf(r) == kind {
			return v
		}
	}
	return nil
}

// TestServiceAccounts: CHK-1108. The token is told about unless the pod, or its account in the same namespace, says no.
func TestServiceAccounts(t *testing.T) {
	const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: %s}\nautomountServiceAccountToken: %s\n---\n"
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec: {%s containers: [{name: c, image: i}]}\n"
	for _, c := range []struct {
		name, manifest string
		told           bool
	}{
		{"nobody says anything", fmt.Sprintf(pod, ""), true},
		{"the pod says no", fmt.Sprintf(pod, "automountServiceAccountToken: false,"), false},
		{"the account says no", fmt.Sprintf(account, "a", "ns", "false") + fmt.Sprintf(pod, "serviceAccountName: a,"), false},
		{"the account by its old field", fmt.Sprintf(account, "a", "ns", "false") + fmt.Sprintf(pod, "serviceAccount: a,"), false},
		{"the default account says no", fmt.Sprintf(account, "default", "ns", "false") + fmt.Sprintf(pod, ""), false},
		{"the account says no, the pod yes", fmt.Sprintf(account, "a", "ns", "false") + fmt.Sprintf(pod, "serviceAccountName: a, automountServiceAccountToken: true,"), true},
		{"an account elsewhere says no", fmt.Sprintf(account, "a", "other", "false") + fmt.Sprintf(pod, "serviceAccountName: a,"), true},
		{"another account says no", fmt.Sprintf(account, "b", "ns", "false") + fmt.Sprintf(pod, "serviceAccountName: a,"), true},
		{"the account says yes", fmt.Sprintf(account, "a", "ns", "true") + fmt.Sprintf(pod, "serviceAccountName: a,"), true},
	} {
		_, findings := NewReader().Read("m", []byte(c.manifest))
		told := false
		for _, f := range findings {
			told = told || f.Rule == descriptor.RuleToken
			if f.Rule == descriptor.RuleToken && (f.Unless == nil || f.Unless.Service != "p" || f.Unless.Path != tokenPath) {
				t.Errorf("%s: %+v", c.name, f)
			}
			if f.Bad() {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		if told != c.told {
			t.Errorf("%s: told %v", c.name, told)
		}
	}
}
