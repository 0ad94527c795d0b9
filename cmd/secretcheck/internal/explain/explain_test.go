package explain

import (
	"context"
	"testing"

	"github.com/llorch/secrets-management/policy"
)

const data = `{"secrets": {"services": {
  "s": [{"id": "a", "actions": ["load_secret"], "source": "file", "paths": ["/a"], "min_memory": "locked", "max_bytes": 100}]}}}`

func good() *policy.Request {
	return &policy.Request{
		Subject: policy.Subject{Service: "s", UID: 7, GID: 7}, Action: policy.LoadSecret,
		Resource: policy.Resource{
			Source: policy.SourceFile, Path: "/a", Resolved: "/a", Above: []string{"/"}, Facts: policy.FactsObserved,
			File: policy.File{
				Type: "regular", Mode: 0o600, UID: 7, OwnerIsMe: true, Size: 9, NLink: 1, Filesystem: "ext4",
				Readers: policy.Principals{UIDs: []int64{7}}, Writers: policy.Principals{UIDs: []int64{0, 7}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
	}
}

// faults are things that are wrong with a request, each mended by one fact.
func faults() map[string]func(r *policy.Request) {
	return map[string]func(r *policy.Request){
		"resource.file.mode":          func(r *policy.Request) { r.Resource.File.Mode = 0o644 },
		"resource.file.nlink":         func(r *policy.Request) { r.Resource.File.NLink = 2 },
		"resource.file.type":          func(r *policy.Request) { r.Resource.File.Type = "fifo" },
		"resource.file.acl":           func(r *policy.Request) { r.Resource.File.ACL = true },
		"resource.file.final_symlink": func(r *policy.Request) { r.Resource.File.FinalSymlink = true },
		"resource.file.filesystem":    func(r *policy.Request) { r.Resource.File.Filesystem = "fuse" },
		"resource.file.size":          func(r *policy.Request) { r.Resource.File.Size = 101 },
		"resource.file.writers":       func(r *policy.Request) { r.Resource.File.Writers.Everyone = true },
		"resource.resolved":           func(r *policy.Request) { r.Resource.Resolved = "/b" },
		"context.memory":              func(r *policy.Request) { r.Context.Memory = policy.MemoryHeap },
		"resource.file.uid": func(r *policy.Request) {
			r.Resource.File.UID, r.Resource.File.OwnerIsMe, r.Resource.File.Writers.UIDs = 8, false, []int64{0, 8}
		},
	}
}

func open(t *testing.T, data string) *Flips {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	f := &Flips{Bundle: b, Open: func(ctx context.Context, b *policy.Bundle) (*policy.Engine, error) {
		return policy.Open(ctx, b, policy.Options{Interpreter: true})
	}}
	if f.Engine, err = policy.Open(t.Context(), b, policy.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Engine.Close)
	return f
}

// TestCHK1255SmallestSetOfFacts: CHK-1255. Of a request with any one, two or three faults, the facts that are named are those, and
// for all at once every one of them.
func TestCHK1255SmallestSetOfFacts(t *testing.T) {
	f := open(t, data)
	var names []string
	for name := range faults() {
		names = append(names, name)
	}
	grants, err := policy.ParseGrants([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	f.grants = grants.Services["s"]
	try := func(wrong ...string) {
		t.Helper()
		r := good()
		want := map[string]bool{}
		for _, w := range wrong {
			faults()[w](r)
			want[w] = true
		}
		flips, err := f.facts(t.Context(), r, f.Engine)
		if err != nil || len(flips) == 0 {
			t.Fatalf("%q: %v, error %v", wrong, flips, err)
		}
		for _, flip := range flips {
			if len(flip.Changes) != len(want) {
				t.Errorf("%q: %+v", wrong, flip)
			}
			for _, c := range flip.Changes {
				if !want[c.Fact] {
					t.Errorf("%q: %+v", wrong, flip)
				}
			}
		}
	}
	for i, a := range names {
		try(a)
		for k, b := range names[:i] {
			try(a, b)
			if k > 0 {
				try(a, b, names[k-1])
			}
		}
	}
	try(names...)
}

// TestCHK1256FactsThatAnAllowRestsOn: CHK-1256. Each fault would deny it, and so would the loss of the grants, of both where either
// is enough.
func TestCHK1256FactsThatAnAllowRestsOn(t *testing.T) {
	f := open(t, data)
	flips, err := f.Find(t.Context(), good(), true, []string{"a"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, flip := range flips {
		if len(flip.Changes) != 1 {
			t.Errorf("%+v", flip)
		}
		got[flip.Changes[0].Fact] = true
	}
	for name := range faults() {
		if !got[name] {
			t.Errorf("%s is not among %v", name, got)
		}
	}
	if !got["grant a"] {
		t.Error("the grant is not among them")
	}
}

// TestCHK1255GrantsAreTried: CHK-1255. A widening that the policy does not take, or that is not enough, is not suggested; neither is
// the loss of one of two grants.
func TestCHK1255GrantsAreTried(t *testing.T) {
	two := `{"secrets": {"services": {"s": [
  {"id": "b", "actions": ["load_secret"], "source": "file", "paths": ["/a"]}, {"id": "c", "actions": ["load_secret"], "source": "file", "paths": ["/a"]}]}}}`
	flips, err := open(t, two).Find(t.Context(), good(), true, []string{"b", "c"})
	if err != nil || len(flips) == 0 || flips[len(flips)-1].Changes[0].Fact != "grant b, c" {
		t.Errorf("%+v, error %v", flips, err)
	}
	r := good()
	r.Resource.File.NLink = 2 // nothing relaxes that
	flips, err = open(t, data).Find(t.Context(), r, false, []string{"a"})
	if err != nil || len(flips) != 1 || flips[0].Kind != "facts" {
		t.Errorf("%+v, error %v", flips, err)
	}
	r = good()
	r.Resource.File.FinalSymlink, r.Resource.Resolved = true, "/b"
	flips, err = open(t, data).Find(t.Context(), r, false, []string{"a"})
	if err != nil || len(flips) != 2 || flips[1].Kind != "grants" || len(flips[1].Changes) != 2 {
		t.Errorf("%+v, error %v", flips, err)
	}
	r = good()
	r.Action, r.Resource.File.NLink = policy.LoadKey, 2
	flips, err = open(t, data).Find(t.Context(), r, false, nil)
	if err != nil || len(flips) == 0 || flips[0].Kind != "both" || len(flips[0].Changes) != 2 {
		t.Errorf("%+v, error %v", flips, err)
	}
}
