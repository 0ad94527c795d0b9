package collect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/quadlet"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
	"github.com/llorch/secrets-management/policy"
)

// containerDropIns is the directory whose drop-ins apply to every container.
const containerDropIns = "container.d"

func isQuadlet(p string) bool {
	return strings.HasSuffix(p, ".container") || strings.HasSuffix(p, ".kube")
}

// quadlet reads a .container file and its drop-ins.
func (c *collector) quadlet(p string) {
	if !c.first(p) {
		return
	}
	names, err := containerFiles(p)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	u := quadlet.Unit{Name: filepath.Base(p), User: ofUser(p)}
	for _, f := range append([]string{p}, names...) {
		data, info, err := readRegular(f)
		if err != nil {
			c.unreadable(f, err)
			return
		}
		c.opened(info)
		u.Files = append(u.Files, systemd.File{Name: report(f), Data: data})
	}
	loads, findings := quadlet.Read(u)
	textsOf(u.Files).show(loads, findings)
	c.judgeable(p, loads, findings)
}

// ofUser reports whether podman looks there for the services of users.
func ofUser(p string) bool {
	abs, err := filepath.Abs(p)
	if err != nil {
		abs = p
	}
	dir := filepath.ToSlash(filepath.Dir(abs)) + "/"
	return strings.Contains(dir, "/.config/containers/systemd/") || strings.Contains(dir, "/containers/systemd/users/")
}

// containerFiles lists the drop-ins of a file in the order of their names: of one name the most specific folder's counts.
func containerFiles(p string) ([]string, error) {
	name, dir := filepath.Base(p), filepath.Dir(p)
	stem := strings.TrimSuffix(name, ".container")
	folders := []string{name + ".d"}
	if prefix, instance, at := strings.Cut(stem, "@"); at && instance != "" {
		folders = append(folders, prefix+"@.container.d")
	}
	for i := len(stem) - 1; i > 0; i-- {
		if stem[i] == '-' && i+1 < len(stem) {
			folders = append(folders, stem[:i+1]+".container.d")
		}
	}
	folders = append(folders, containerDropIns)
	files := map[string]string{}
	for _, f := range folders {
		entries, err := os.ReadDir(filepath.Join(dir, f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, known := files[e.Name()]; !known && strings.HasSuffix(e.Name(), ".conf") {
				files[e.Name()] = filepath.Join(dir, f, e.Name())
			}
		}
	}
	var order []string
	for n := range files {
		order = append(order, n)
	}
	slices.Sort(order)
	for i, n := range order {
		order[i] = files[n]
	}
	return order, nil
}

// kube reads a .kube file, and the manifests that it names. One that is read as a manifest already is not judged again.
func (c *collector) kube(p string) {
	if !c.first(p) {
		return
	}
	data, info, err := readRegular(p)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	c.opened(info)
	manifests, bad := quadlet.Manifests(systemd.File{Name: report(p), Data: data})
	if bad != nil {
		c.add(nil, []descriptor.Finding{*bad})
		return
	}
	var loads []descriptor.Load
	var findings []descriptor.Finding
	for _, m := range manifests {
		file, fault := c.manifestOf(p, m)
		if fault != "" {
			findings = append(findings, descriptor.Finding{
				Rule: descriptor.RuleUnreadable, Severity: policy.SeverityError, Message: fault, Fix: "correct Yaml=", Position: m.Position,
			})
			continue
		}
		data, info, err := readBounded(file, kubernetes.MaxFile)
		if err != nil {
			findings = append(findings, descriptor.Finding{
				Rule: descriptor.RuleUnreadable, Severity: policy.SeverityError, Message: "the manifest: " + reason(err), Fix: "correct Yaml=", Position: m.Position,
			})
			continue
		}
		c.opened(info)
		if !c.first(file) {
			continue
		}
		more, told := c.manifests.kubernetes().Read(report(file), data)
		for _, l := range more {
			loads = append(loads, quadlet.ByPodman(l))
		}
		findings = append(findings, told...)
	}
	c.judgeable(p, loads, findings)
}

// manifestOf is the path that Yaml= names, relative to the file, in the folder that is checked.
func (c *collector) manifestOf(p string, m quadlet.Manifest) (path, fault string) {
	if strings.Contains(m.Path, "%") || strings.Contains(m.Path, "://") {
		return "", "the manifest is known to the running systemd only"
	}
	path = m.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(p), path)
	}
	within := filepath.Dir(p)
	if c.searched != "" {
		within = c.searched
	}
	at := real(path)
	if at == "" {
		return "", "the manifest is not there"
	}
	if rel, err := filepath.Rel(real(within), at); err != nil || !filepath.IsLocal(rel) {
		return "", "the manifest lies outside of the folder that is checked: it is not read"
	}
	return path, ""
}

// containerDropIns tells of drop-ins without a file that they could be read with.
func (c *collector) containerDropIns(p string) {
	files, err := filepath.Glob(filepath.Join(globEscape(filepath.Dir(p)), "*.container"))
	if err == nil && len(files) == 0 {
		c.tell(p, descriptor.RuleNotJudged, policy.SeverityWarning, "drop-ins for containers of which none is in this folder: they were not judged")
	}
}
