// Package explain finds the smallest change to a request, or to the grants, that turns a verdict around. Nothing is worked
// out: each change that it names was made, and the engine asked again.
package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/probe"
	"github.com/llorch/secrets-management/policy"
)

// Change is one fact, or one part of the grants, that would be another.
type Change struct {
	Fact string `json:"fact"` // a member of the input, or of a grant
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"` // in words
}

// edit is a change that can be made. Of those with the same fact only one can.
type edit struct {
	Change

	apply func(r *policy.Request)
}

func fact(name, from, to, text string, apply func(r *policy.Request)) edit {
	return edit{Change{name, from, to, text}, apply}
}

// local is a file system that the default rules trust.
const local = "ext4"

// mends lists what could be wrong with a request, each as it would be in the best order. Those that leave what is asked for
// as it is come first.
func mends(r *policy.Request, grants []policy.Grant) (list []edit) {
	list = append(list, fileMends("resource.file", "the file", &r.Resource.File, func(r *policy.Request) *policy.File { return &r.Resource.File }, r, grants)...)
	list = append(list, fileMends("resource.origin_file", "the origin", &r.Resource.OriginFile, func(r *policy.Request) *policy.File { return &r.Resource.OriginFile }, r, grants)...)
	s := &r.Resource
	if s.Source == policy.SourceFile && s.Resolved != s.Path {
		list = append(list, fact("resource.resolved", s.Resolved, s.Path, "no symbolic link leads from "+s.Path+" elsewhere", func(r *policy.Request) {
			r.Resource.Resolved, r.Resource.Links, r.Resource.File.Symlinks = r.Resource.Path, nil, 0
		}))
	}
	for _, m := range []policy.Memory{policy.MemoryLocked, policy.MemorySecret} {
		if r.Context.Memory != m && r.Context.Memory != "" {
			list = append(list, fact("context.memory", string(r.Context.Memory), string(m), "the process protects memory as "+string(m), func(r *policy.Request) { r.Context.Memory = m }))
		}
	}
	return append(append(list, identityMends(r, grants)...), referenceMends(r, grants)...)
}

func fileMends(at, what string, f *policy.File, of func(*policy.Request) *policy.File, r *policy.Request, grants []policy.Grant) (list []edit) {
	if f.Type == "" || r.Resource.Source == policy.SourceEnv {
		return nil
	}
	uid := r.Subject.UID
	if at != "resource.file" {
		uid = 0
	}
	add := func(name, from, to, text string, apply func(f *policy.File)) {
		list = append(list, fact(at+"."+name, from, to, text, func(r *policy.Request) { apply(of(r)) }))
	}
	if f.Type != "regular" {
		add("type", f.Type, "regular", what+" is a regular file", func(f *policy.File) { f.Type = "regular" })
	}
	if f.NLink != 1 {
		add("nlink", number(f.NLink), "1", what+" has no other name", func(f *policy.File) { f.NLink = 1 })
	}
	if f.Mode&0o077 != 0 {
		add("mode", octal(f.Mode), "0600", what+" has mode 0600", closeMode)
	}
	for _, owner := range slices.Compact([]int64{uid, 0}) {
		if f.UID != owner {
			add("uid", number(f.UID), number(owner), fmt.Sprintf("%s belongs to uid %d", what, owner), func(f *policy.File) { own(f, owner, r.Subject.UID) })
		}
	}
	if f.ACL {
		add("acl", "true", "false", what+" has no extended ACL", func(f *policy.File) { f.ACL = false })
	}
	if f.FinalSymlink {
		add("final_symlink", "true", "false", what+" is named without a symbolic link at the end", func(f *policy.File) { f.FinalSymlink = false })
	}
	if f.Filesystem != local {
		add("filesystem", f.Filesystem, local, what+" is on a local file system such as "+local, func(f *policy.File) { f.Filesystem = local })
	}
	for _, size := range sizes(grants) {
		if f.Size > size {
			add("size", number(f.Size), number(size), fmt.Sprintf("%s has at most %d bytes", what, size), func(f *policy.File) { f.Size = size })
		}
	}
	alone := slices.Compact([]int64{0, uid})
	if !slices.Equal(f.Writers.UIDs, alone) || len(f.Writers.GIDs) > 0 || f.Writers.Everyone {
		add("writers", principals(f.Writers), principals(policy.Principals{UIDs: alone}), "nobody but root and the service can change or replace "+what, func(f *policy.File) {
			f.Writers = policy.Principals{UIDs: alone}
		})
	}
	if slices.ContainsFunc(f.Readers.UIDs, func(u int64) bool { return u != 0 && u != uid }) || len(f.Readers.GIDs) > 0 || f.Readers.Everyone {
		add("readers", principals(f.Readers), principals(policy.Principals{UIDs: alone}), "nobody but root and the service can read "+what, func(f *policy.File) {
			f.Readers = policy.Principals{UIDs: alone}
		})
	}
	return list
}

// closeMode takes group and others what the mode gives them. Who can write for another reason still can.
func closeMode(f *policy.File) {
	f.Readers.GIDs, f.Readers.Everyone = nil, false
	if f.Mode&0o020 != 0 {
		f.Writers.GIDs = nil
	}
	if f.Mode&0o002 != 0 {
		f.Writers.Everyone = false
	}
	f.Mode = 0o600
}

// own gives a file to another user, who can do with it what the old owner could.
func own(f *policy.File, to, self int64) {
	old := f.UID
	replace := func(list []int64) []int64 {
		var out []int64
		for _, u := range list {
			if u == old && old != 0 {
				u = to
			}
			out = append(out, u)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	f.UID, f.OwnerIsRoot, f.OwnerIsMe = to, to == 0, to == self
	f.Readers.UIDs, f.Writers.UIDs = replace(f.Readers.UIDs), replace(f.Writers.UIDs)
}

// sizes are limits that a policy may have, the largest first.
func sizes(grants []policy.Grant) []int64 {
	list := []int64{policy.MaxSecretBytes, policy.MaxKeyBytes, 64}
	for i := range grants {
		if n := grants[i].MaxBytes; n > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	slices.Reverse(list)
	return slices.Compact(list)
}

// identityMends are who grants require the service to be.
func identityMends(r *policy.Request, grants []policy.Grant) (list []edit) {
	seen := map[string]bool{}
	add := func(e edit) {
		if key := e.Fact + "\x00" + e.To; !seen[key] {
			seen[key] = true
			list = append(list, e)
		}
	}
	for i := range grants {
		q := grants[i].Require
		if q.UID != nil && (r.Subject.UID != *q.UID || r.Subject.Attested.UID == "") {
			add(fact("subject.uid", number(r.Subject.UID)+proof(r.Subject.Attested.UID), number(*q.UID)+", proven", fmt.Sprintf("the service runs as uid %d", *q.UID), func(r *policy.Request) {
				r.Subject.UID, r.Subject.Attested.UID = *q.UID, "getuid"
				r.Resource.File.OwnerIsMe = r.Resource.File.UID == *q.UID
			}))
		}
		if q.Unit != "" && (r.Subject.Unit != q.Unit || r.Subject.Attested.Unit == "") {
			add(fact("subject.unit", r.Subject.Unit+proof(r.Subject.Attested.Unit), q.Unit+", proven", "the service runs as unit "+q.Unit, func(r *policy.Request) {
				r.Subject.Unit, r.Subject.Attested.Unit = q.Unit, "cgroup"
			}))
		}
	}
	return list
}

func proof(how string) string {
	if how == "" {
		return ", not proven"
	}
	return ", proven"
}

// mostNear bounds the references that are offered in place of the one that was asked for.
const mostNear = 4

// referenceMends ask for what is granted, where it looks like what was asked for, and name another origin.
func referenceMends(r *policy.Request, grants []policy.Grant) (list []edit) {
	s := &r.Resource
	var paths, names, purposes, origins []string
	for i := range grants {
		g := &grants[i]
		if g.Source != s.Source {
			continue
		}
		names, purposes = append(names, g.Names...), append(purposes, g.Purposes...)
		if g.Source == policy.SourceFile {
			paths = append(paths, g.Paths...)
		} else {
			origins = append(origins, probe.Places(g)...)
		}
	}
	for _, p := range near(s.Path, paths) {
		list = append(list, fact("resource.path", s.Path, p, "the service asks for "+p, func(r *policy.Request) {
			if r.Resource.Resolved == r.Resource.Path {
				r.Resource.Resolved = p
			}
			r.Resource.Path = p
		}))
	}
	for _, n := range near(s.Name, names) {
		list = append(list, fact("resource.name", s.Name, n, "the service asks for "+n, func(r *policy.Request) { r.Resource.Name = n }))
	}
	for _, p := range near(s.Purpose, purposes) {
		list = append(list, fact("resource.purpose", s.Purpose, p, "the key is derived for "+p, func(r *policy.Request) { r.Resource.Purpose = p }))
	}
	if strings.HasPrefix(s.Origin, "/") {
		for _, p := range origins[:min(len(origins), mostNear)] {
			list = append(list, fact("resource.origin", s.Origin, p, "the credential is copied from "+p, func(r *policy.Request) { r.Resource.Origin = p }))
		}
	}
	return list
}

// near picks what could have been meant: what is not the same, and differs by a third at most.
func near(asked string, granted []string) (list []string) {
	for _, g := range granted {
		if d := distance(asked, g); d > 0 && d <= max(len(asked), len(g))/3 && !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return distance(asked, a) - distance(asked, b) })
	return list[:min(len(list), mostNear)]
}

// distance is that of Levenshtein, in bytes; of long texts it is their length.
func distance(a, b string) int {
	if len(a) > 256 || len(b) > 256 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			before, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, before+cost)
		}
	}
	return row[len(b)]
}

// spoils lists what would be wrong with a request that is in order.
func spoils(r *policy.Request) (list []edit) {
	s := &r.Resource
	files := []struct {
		at, what string
		f        *policy.File
		of       func(*policy.Request) *policy.File
	}{
		{"resource.file", "the file", &s.File, func(r *policy.Request) *policy.File { return &r.Resource.File }},
		{"resource.origin_file", "the origin", &s.OriginFile, func(r *policy.Request) *policy.File { return &r.Resource.OriginFile }},
	}
	const stranger = 65_534
	for _, x := range files {
		f := x.f
		if f.Type == "" || s.Source == policy.SourceEnv {
			continue
		}
		add := func(name, from, to, text string, apply func(f *policy.File)) {
			list = append(list, fact(x.at+"."+name, from, to, text, func(r *policy.Request) { apply(x.of(r)) }))
		}
		add("mode", octal(f.Mode), "0644", "everyone can read "+x.what, func(f *policy.File) {
			f.Mode, f.Readers.Everyone = 0o644, true
		})
		add("uid", number(f.UID), number(stranger), fmt.Sprintf("%s belongs to uid %d", x.what, stranger), func(f *policy.File) {
			f.UID, f.OwnerIsRoot, f.OwnerIsMe = stranger, false, false
		})
		add("nlink", number(f.NLink), "2", x.what+" has a second name", func(f *policy.File) { f.NLink = 2 })
		add("type", f.Type, "fifo", x.what+" is a pipe", func(f *policy.File) { f.Type = "fifo" })
		add("size", number(f.Size), number(policy.MaxSecretBytes+1), fmt.Sprintf("%s has %d bytes", x.what, policy.MaxSecretBytes+1), func(f *policy.File) { f.Size = policy.MaxSecretBytes + 1 })
		add("writers", principals(f.Writers), "everyone", "everyone can change or replace "+x.what, func(f *policy.File) { f.Writers.Everyone = true })
		add("filesystem", f.Filesystem, "nfs", x.what+" is on nfs", func(f *policy.File) { f.Filesystem = "nfs" })
		if !f.ACL {
			add("acl", "false", "true", x.what+" has an extended ACL", func(f *policy.File) { f.ACL = true })
		}
		if !f.FinalSymlink {
			add("final_symlink", "false", "true", "the path ends in a symbolic link", func(f *policy.File) { f.Symlinks, f.FinalSymlink = f.Symlinks+1, true })
		}
	}
	if s.Source == policy.SourceFile {
		list = append(list, fact("resource.resolved", s.Resolved, "/elsewhere", "a symbolic link leads to /elsewhere", func(r *policy.Request) { r.Resource.Resolved = "/elsewhere" }))
	}
	if strings.HasPrefix(s.Origin, "/") {
		list = append(list, fact("resource.origin", s.Origin, "/elsewhere", "the credential is copied from /elsewhere", func(r *policy.Request) { r.Resource.Origin = "/elsewhere" }))
	}
	if r.Context.Memory != policy.MemoryHeap && r.Context.Memory != "" {
		list = append(list, fact("context.memory", string(r.Context.Memory), "heap", "the process can lock no memory", func(r *policy.Request) { r.Context.Memory = policy.MemoryHeap }))
	}
	list = append(list, fact("subject.uid", number(r.Subject.UID)+proof(r.Subject.Attested.UID), number(r.Subject.UID)+", not proven", "the service cannot prove its uid", func(r *policy.Request) { r.Subject.Attested.UID = "" }))
	if r.Subject.Unit != "" {
		list = append(list, fact("subject.unit", r.Subject.Unit+proof(r.Subject.Attested.Unit), r.Subject.Unit+", not proven", "the service cannot prove its unit", func(r *policy.Request) { r.Subject.Attested.Unit = "" }))
	}
	return list
}

func number(n int64) string    { return strconv.FormatInt(n, 10) }
func octal(mode uint32) string { return fmt.Sprintf("%04o", mode) }
func principals(p policy.Principals) string {
	var parts []string
	for _, u := range p.UIDs {
		parts = append(parts, "uid "+number(u))
	}
	for _, g := range p.GIDs {
		parts = append(parts, "gid "+number(g))
	}
	if p.Everyone {
		parts = append(parts, "everyone")
	}
	if len(parts) == 0 {
		return "nobody"
	}
	return strings.Join(parts, ", ")
}
