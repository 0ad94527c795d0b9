package kubernetes

import (
	"path"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// version stands for the directory that holds the files of a volume: the kubelet names it by the time of the last change
// (pkg/volume/util/atomic_writer.go).
const version = "..0000_00_00_00_00_00.000000000"

// file is what the kubelet makes of an item: a file of root's on a tmpfs whose root anybody could write to, but for the
// sticky bit, and the mount of which is read-only in containers. A file of a volume is reached through a link of its name,
// or of its first directory, to ..data, and that one to the directory of this version; one that is mounted for itself by
// subPath is reached without. An fsGroup becomes the group of all and may read (pkg/volume/volume_linux.go).
func (p *pod) file(i item, m mount, l descriptor.Load) *descriptor.Runtime {
	f := policy.File{
		Type: "regular", Mode: i.mode, UID: i.owner, OwnerIsRoot: i.owner == 0, OwnerIsMe: i.owner == l.UID, Size: 1, NLink: 1,
		Filesystem: "tmpfs", Mount: policy.Mount{ReadOnly: true},
	}
	if p.fsGroup != nil {
		f.GID, f.Mode = *p.fsGroup, f.Mode|0o440
	}
	f.Writers = principals(f, 0o020, 0o002)
	if i.owner != 0 {
		f.Writers.UIDs = append(f.Writers.UIDs, 0) // of the directories
	}
	f.Readers = principals(f, 0o040, 0o004)
	r := &descriptor.Runtime{Resolved: l.Path}
	if m.subPath == "" {
		beneath := strings.TrimPrefix(strings.TrimPrefix(l.Path, m.path), "/")
		first, _, deeper := strings.Cut(beneath, "/")
		r.Resolved = path.Join(m.path, version, beneath)
		r.Links = []string{path.Join(m.path, first), path.Join(m.path, "..data")}
		f.FinalSymlink, f.Symlinks = !deeper, 2
	}
	for dir := r.Resolved; dir != "/"; {
		dir = path.Dir(dir)
		r.Above = append(r.Above, dir)
	}
	if barred(f, l.UID, p.groups(l.GID)) {
		r.Barred = r.Resolved
	}
	r.File = f
	return r
}

// principals is who a mode admits.
func principals(f policy.File, group, other uint32) policy.Principals {
	p := policy.Principals{UIDs: []int64{f.UID}, Everyone: f.Mode&other != 0}
	if f.Mode&group != 0 {
		p.GIDs = []int64{f.GID}
	}
	return p
}

// groups are all that a process is in, nil where the image can add some.
func (p *pod) groups(own *int64) []int64 {
	context := p.spec.get("securityContext")
	if own == nil || context.get("supplementalGroupsPolicy").string() != "Strict" {
		return nil
	}
	all := []int64{*own}
	if p.fsGroup != nil {
		all = append(all, *p.fsGroup)
	}
	for _, g := range context.get("supplementalGroups").list() {
		if id := g.number(); id != nil {
			all = append(all, *id)
		}
	}
	return all
}

// barred reports whether an account surely may not read the file.
func barred(f policy.File, uid int64, groups []int64) bool {
	switch {
	case uid <= 0, uid == f.UID: // root may, of an unknown one nothing is sure, and only tokens have an owner, with 0600
		return false
	case groups == nil:
		return f.Mode&0o044 == 0
	case slices.Contains(groups, f.GID):
		return f.Mode&0o040 == 0
	}
	return f.Mode&0o004 == 0
}

// mode reads a mode. The API server takes whole numbers up to 0777, and it is the same to it how they were written.
func (p *pod) mode(v *value, otherwise uint32) (uint32, error) {
	n := v.number()
	if n == nil {
		return otherwise, nil
	}
	meant := v.text == "400" || v.text == "440" || v.text == "444" || v.text == "600" || v.text == "640" || v.text == "644" || v.text == "660"
	if *n < 0 || *n > 0o777 {
		err := &fault{line: v.line, column: v.column, message: "a mode is at most 0777, in decimal 511"}
		if meant {
			err.message += ": a number without a zero before it is decimal"
			err.fix = "write 0" + v.text
		}
		return 0, err
	}
	if meant {
		p.tell(descriptor.RuleDecimalMode, v, p.service, "a number without a zero before it is decimal: this is another mode", "write 0"+v.text)
	}
	return uint32(*n), nil
}
