package policy

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEveryFieldIsPresent: a deny rule over an absent field never fires, so the zero request has all of them too.
func TestEveryFieldIsPresent(t *testing.T) {
	full := goodInput()
	for name, r := range map[string]*Request{"POL-2004 zero": {}, "POL-2004 full": full} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			got := paths("", m)
			if len(got) != len(inputFields()) {
				t.Errorf("%d fields, want %d", len(got), len(inputFields()))
			}
			for _, want := range inputFields() {
				if !got[want] {
					t.Errorf("%s is missing", want)
				}
			}
		})
	}
}

func goodInput() *Request {
	return &Request{
		Subject: Subject{Service: "s", Container: "c", UID: 1, GID: 2, Unit: "u", Exe: "/e", SPIFFEID: "spiffe://x"},
		Action:  LoadKey,
		Resource: Resource{
			Source: SourceFile, Path: "/p", Above: []string{"/"}, Facts: FactsObserved,
			File: File{Mode: 0o7654, Readers: Principals{UIDs: []int64{1, -2}, GIDs: []int64{3}}},
		},
		Context: Context{Phase: PhaseRuntime},
	}
}

// paths lists the leaves of an object.
func paths(prefix string, m map[string]any) map[string]bool {
	all := map[string]bool{}
	for k, v := range m {
		if sub, ok := v.(map[string]any); ok {
			for p := range paths(prefix+k+".", sub) {
				all[p] = true
			}
			continue
		}
		all[prefix+k] = true
	}
	return all
}

func inputFields() []string {
	fields := strings.Fields(`api action
		subject.service subject.container subject.uid subject.gid subject.unit subject.exe subject.spiffe_id
		subject.attested.uid subject.attested.gid subject.attested.unit subject.attested.exe subject.attested.spiffe_id
		resource.source resource.path resource.resolved resource.ancestors resource.links resource.name resource.purpose resource.origin
		resource.facts context.phase context.host context.environment context.memory`)
	for _, file := range []string{"resource.file.", "resource.origin_file."} {
		for _, f := range strings.Fields(`type mode mode_octal group_bits other_bits uid gid owner_is_root owner_is_me size nlink
			filesystem mount.read_only mount.nosuid mount.nodev mount.noexec immutable append_only symlinks final_symlink acl
			readers.uids readers.gids readers.everyone writers.uids writers.gids writers.everyone`) {
			fields = append(fields, file+f)
		}
	}
	return fields
}

// TestInputIsFaithful: whatever valid UTF-8 a name holds, the guest reads that name.
func TestInputIsFaithful(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := goodInput()
		r.Resource.Path, r.Subject.Service = rapid.String().Draw(rt, "path"), rapid.String().Draw(rt, "service")
		r.Resource.File.Mode = rapid.Uint32Range(0, 0o7777).Draw(rt, "mode")
		b, err := appendWhole(nil, judgeFacts, r)
		if err != nil {
			rt.Fatal(err)
		}
		var m struct {
			Subject  struct{ Service string }
			Resource struct {
				Path string
				File struct {
					Mode      uint32
					ModeOctal string `json:"mode_octal"`
					GroupBits uint32 `json:"group_bits"`
					OtherBits uint32 `json:"other_bits"`
					Readers   struct{ UIDs []int64 }
				}
			}
		}
		if err := json.Unmarshal(b, &m); err != nil {
			rt.Fatal(err)
		}
		f := m.Resource.File
		if m.Resource.Path != r.Resource.Path || m.Subject.Service != r.Subject.Service || f.Mode != r.Resource.File.Mode ||
			f.GroupBits != f.Mode>>3&7 || f.OtherBits != f.Mode&7 || len(f.ModeOctal) != 4 ||
			!reflect.DeepEqual(f.Readers.UIDs, r.Resource.File.Readers.UIDs) {
			rt.Errorf("%s", b)
		}
	})
}

func TestRequestsThatAreNotAsked(t *testing.T) {
	b, err := DefaultBundle([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(t.Context(), b, Options{Limits: Limits{Deadline: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	tests := map[string]func(*Request){
		"SM-SCOPE-1002 unknown action": func(r *Request) { r.Action = "delete" },
		"no action":                    func(r *Request) { r.Action = "" },
		"SM-SCOPE-1002 unknown source": func(r *Request) { r.Resource.Source = "vault" },
		"no phase":                     func(r *Request) { r.Context.Phase = "" },
		"prediction at run time":       func(r *Request) { r.Resource.Facts = FactsPredicted },
		"no facts at run time":         func(r *Request) { r.Resource.Facts = FactsUnchecked },
		"a path that is not UTF-8":     func(r *Request) { r.Resource.Path = "/\xff" },
		"an origin that is not":        func(r *Request) { r.Resource.Origin = "\xc0\x80" },
		"more than the input limit":    func(r *Request) { r.Context.Host = strings.Repeat("h", 300_000) },
	}
	for name, change := range tests {
		t.Run("POL-2005/"+name, func(t *testing.T) {
			r := goodInput()
			change(r)
			d, err := e.Decide(t.Context(), r)
			if d.Allowed() || !errors.Is(err, ErrRequest) {
				t.Errorf("allowed %v, error %v", d.Allowed(), err)
			}
		})
	}
	if _, err := e.Decide(t.Context(), goodInput()); err != nil {
		t.Errorf("control: %v", err)
	}
}

// TestOnlyUTF8IsWritten: POL-2005. What an audit log gets is refused as the request itself is.
func TestOnlyUTF8IsWritten(t *testing.T) {
	r := goodInput()
	r.Resource.Path = "/\xff"
	if _, err := r.AppendJSON(nil); !errors.Is(err, ErrRequest) {
		t.Errorf("facts: %v", err)
	}
	if _, err := appendWhole(nil, askReference, r); !errors.Is(err, ErrRequest) {
		t.Errorf("reference: %v", err)
	}
}
