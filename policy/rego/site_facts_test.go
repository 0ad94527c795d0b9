package rego

import (
	"slices"
	"testing"
	"time"

	"github.com/llorch/secrets-management/policy"
)

// TestSiteJudgesLinksAndAttributes: POL-2004. What the default rules do not look at, the rules of a site can.
func TestSiteJudgesLinksAndAttributes(t *testing.T) {
	const site = `package secrets.load

site_reasons contains {"code": "link_in_tmp", "message": "", "severity": "error", "fix": ""} if {
	some link in input.resource.links
	startswith(link, "/tmp/")
}

site_reasons contains {"code": "not_immutable", "message": "", "severity": "error", "fix": ""} if {
	input.resource.file.immutable == false
}

site_reasons contains {"code": "append_only", "message": "", "severity": "error", "fix": ""} if {
	input.resource.file.append_only == true
}
`
	b, err := Build(t.Context(), Source{
		Modules: map[string][]byte{"site.rego": []byte(site)},
		Data:    []byte(`{"secrets":{"services":{"s":[{"id":"g","actions":["load_secret"],"source":"file","paths":["/p"]}]}}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Open(t.Context(), b, policy.Options{Limits: policy.Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	file := policy.File{
		Type: "regular", Mode: 0o600, UID: 1, OwnerIsMe: true, Size: 1, NLink: 1, Filesystem: "ext4", Immutable: true,
		Writers: policy.Principals{UIDs: []int64{0, 1}},
	}
	tests := map[string]struct {
		change func(*policy.Resource)
		codes  []string
	}{
		"nothing wrong":      {func(*policy.Resource) {}, nil},
		"a link that lay":    {func(r *policy.Resource) { r.Links = []string{"/srv/a", "/tmp/b"} }, []string{"link_in_tmp"}},
		"another link":       {func(r *policy.Resource) { r.Links = []string{"/srv/a"} }, nil},
		"can be changed":     {func(r *policy.Resource) { r.File.Immutable = false }, []string{"not_immutable"}},
		"can only be longer": {func(r *policy.Resource) { r.File.AppendOnly = true }, []string{"append_only"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := &policy.Request{
				Subject: policy.Subject{Service: "s", UID: 1}, Action: policy.LoadSecret,
				Resource: policy.Resource{
					Source: policy.SourceFile, Path: "/p", Resolved: "/p", Above: []string{"/"}, Facts: policy.FactsObserved, File: file,
				},
				Context: policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
			}
			tt.change(&r.Resource)
			d, err := e.Decide(t.Context(), r)
			if err != nil || d.Allowed() != (tt.codes == nil) || !slices.Equal(d.Codes(), append([]string{}, tt.codes...)) {
				t.Errorf("allowed %v, %q, error %v", d.Allowed(), d.Codes(), err)
			}
		})
	}
}
