// Package recorded reads decision logs: those of package loader and those of OPA. Nothing in one is trusted. What was
// recorded is either read exactly as it stands, or refused with the reason.
package recorded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llorch/secrets-management/policy"
)

// ErrInput is matched by every error about an input that is not one of the contract.
var ErrInput = errors.New("not an input of the contract")

// input mirrors what [policy.Request.AppendJSON] writes. What the host derives from other members is not read: it is
// compared.
type input struct {
	Subject struct {
		Service   string `json:"service"`
		Container string `json:"container"`
		UID       int64  `json:"uid"`
		GID       int64  `json:"gid"`
		Unit      string `json:"unit"`
		Exe       string `json:"exe"`
		SPIFFEID  string `json:"spiffe_id"`
		Attested  struct {
			UID      string `json:"uid"`
			GID      string `json:"gid"`
			Unit     string `json:"unit"`
			Exe      string `json:"exe"`
			SPIFFEID string `json:"spiffe_id"`
		} `json:"attested"`
	} `json:"subject"`
	Action   policy.Action `json:"action"`
	Resource struct {
		Source     policy.Source     `json:"source"`
		Path       string            `json:"path"`
		Resolved   string            `json:"resolved"`
		Ancestors  []string          `json:"ancestors"`
		Links      []string          `json:"links"`
		Name       string            `json:"name"`
		Purpose    string            `json:"purpose"`
		Origin     string            `json:"origin"`
		Facts      policy.FactsState `json:"facts"`
		File       file              `json:"file"`
		OriginFile file              `json:"origin_file"`
	} `json:"resource"`
	Context struct {
		Phase       policy.Phase  `json:"phase"`
		Host        string        `json:"host"`
		Environment string        `json:"environment"`
		Memory      policy.Memory `json:"memory"`
	} `json:"context"`
}

type file struct {
	Type        string `json:"type"`
	Mode        uint32 `json:"mode"`
	UID         int64  `json:"uid"`
	GID         int64  `json:"gid"`
	OwnerIsRoot bool   `json:"owner_is_root"`
	OwnerIsMe   bool   `json:"owner_is_me"`
	Size        int64  `json:"size"`
	NLink       int64  `json:"nlink"`
	Filesystem  string `json:"filesystem"`
	Mount       struct {
		ReadOnly bool `json:"read_only"`
		NoSUID   bool `json:"nosuid"`
		NoDev    bool `json:"nodev"`
		NoExec   bool `json:"noexec"`
	} `json:"mount"`
	Immutable    bool       `json:"immutable"`
	AppendOnly   bool       `json:"append_only"`
	Symlinks     int        `json:"symlinks"`
	FinalSymlink bool       `json:"final_symlink"`
	ACL          bool       `json:"acl"`
	Readers      principals `json:"readers"`
	Writers      principals `json:"writers"`
}

type principals struct {
	UIDs     []int64 `json:"uids"`
	GIDs     []int64 `json:"gids"`
	Everyone bool    `json:"everyone"`
}

func (f *file) policy() policy.File {
	return policy.File{
		Type: f.Type, Mode: f.Mode, UID: f.UID, GID: f.GID, OwnerIsRoot: f.OwnerIsRoot, OwnerIsMe: f.OwnerIsMe, Size: f.Size,
		NLink: f.NLink, Filesystem: f.Filesystem, Mount: policy.Mount(f.Mount), Immutable: f.Immutable, AppendOnly: f.AppendOnly,
		Symlinks: f.Symlinks, FinalSymlink: f.FinalSymlink, ACL: f.ACL, Readers: policy.Principals(f.Readers), Writers: policy.Principals(f.Writers),
	}
}

// Request reads an input of the decision entrypoint. It has to be exactly what the host writes: a member that is missing,
// unknown, twice there, of another type or not what follows from the others is an error that names it and matches
// [ErrInput]. So what is judged again is what was judged, and nothing that a reader filled in.
func Request(raw []byte) (*policy.Request, error) {
	var in input
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrInput)
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, place("input", err))
	}
	s := in.Resource
	r := &policy.Request{
		Subject: policy.Subject{
			Service: in.Subject.Service, Container: in.Subject.Container, UID: in.Subject.UID, GID: in.Subject.GID, Unit: in.Subject.Unit,
			Exe: in.Subject.Exe, SPIFFEID: in.Subject.SPIFFEID, Attested: policy.Attested(in.Subject.Attested),
		},
		Action: in.Action,
		Resource: policy.Resource{
			Source: s.Source, Path: s.Path, Resolved: s.Resolved, Above: s.Ancestors, Links: s.Links, Name: s.Name, Purpose: s.Purpose,
			Origin: s.Origin, Facts: s.Facts, File: s.File.policy(), OriginFile: s.OriginFile.policy(),
		},
		Context: policy.Context(in.Context),
	}
	again, err := r.AppendJSON(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if err := same(raw, again); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return r, nil
}

// place words an error of the decoder without the names of Go's types.
func place(in string, err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s cannot be a %s", strings.TrimSuffix(in+"."+kind.Field, "."), kind.Value)
	}
	return err
}

// same reports whether two documents say the same, member by member.
func same(raw, again []byte) error {
	if string(raw) == string(again) {
		return nil
	}
	if a, b := tokens(raw), tokens(again); a > b { // a member that is there twice leaves no other trace
		if err := differ("input", decoded(raw), decoded(again)); err != nil {
			return err
		}
		return errors.New("a member is there twice")
	}
	return differ("input", decoded(raw), decoded(again))
}

func decoded(raw []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&v) // it was decoded before
	return v
}

func tokens(raw []byte) (n int) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	for {
		if _, err := d.Token(); err != nil {
			if !errors.Is(err, io.EOF) {
				return -1
			}
			return n
		}
		n++
	}
}

// differ names the first place at which what is there is not what has to be.
func differ(at string, is, want any) error {
	object, ok := is.(map[string]any)
	wanted, both := want.(map[string]any)
	if !ok || !both {
		if a, b := text(is), text(want); a != b {
			return fmt.Errorf("%s is %.100s, and has to be %.100s", at, a, b)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		value, there := object[name]
		if !there {
			return fmt.Errorf("%s.%s is missing", at, name)
		}
		if err := differ(at+"."+name, value, wanted[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if _, there := wanted[name]; !there {
			return fmt.Errorf("%s.%.100s is not a member of the contract", at, name)
		}
	}
	return nil
}

func text(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // decoded JSON encodes
	return strings.TrimSpace(b.String())
}
