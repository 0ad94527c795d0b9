package collect

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/inventory"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

var errNoKind = errors.New("no known kind of descriptor: neither a unit, nor a manifest, a Compose file or an inventory; --type says which it is")

// byContent reads a file that was named and whose name says nothing.
func (c *collector) byContent(p string) {
	if !c.first(p) {
		return
	}
	data, info, err := c.readBounded(p, kubernetes.MaxFile)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	c.kind(p, p, data, info, kindOf(data))
}

// forced reads a file as what it was said to be.
func (c *collector) forced(p string) {
	if c.options.Kind == KindSystemd && strings.HasSuffix(p, ".service") {
		c.file(p, true) // with its drop-ins
		return
	}
	if !c.first(p) {
		return
	}
	data, info, err := c.readBounded(p, kubernetes.MaxFile)
	if err != nil {
		c.unreadable(p, err)
		return
	}
	c.kind(p, p, data, info, c.options.Kind)
}

// piped reads what another program prints: helm template, kustomize build, systemctl cat.
func (c *collector) piped() {
	if !c.first(Stdin) || c.options.Stdin == nil {
		return
	}
	data, err := c.drain()
	if err == nil && len(data) > kubernetes.MaxFile {
		err = tooLarge(kubernetes.MaxFile)
	}
	if err != nil {
		c.unreadable(Stdin, err)
		return
	}
	kind := c.options.Kind
	if kind == "" && strings.HasSuffix(c.options.StdinName, ".service") {
		kind = KindSystemd
	}
	if kind == "" {
		kind = kindOf(data)
	}
	c.kind(Stdin, c.options.StdinName, data, nil, kind)
}

// drain reads what is piped in to its end, or until nobody waits any more: who writes there may never end.
func (c *collector) drain() (data []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		data, err = io.ReadAll(io.LimitReader(c.options.Stdin, kubernetes.MaxFile+1))
	}()
	select {
	case <-done:
		return data, err
	case <-c.options.Stop:
		return nil, errStopped
	}
}

var errStopped = errors.New("interrupted")

// kindOf is what a text is by its content: the first line that says anything of a unit is the header of a section.
func kindOf(data []byte) string {
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\uFEFF"))) {
		switch line = bytes.TrimSpace(line); {
		case len(line) == 0, line[0] == '#', line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']' && !bytes.ContainsAny(line, ",:{\"'"):
			return KindSystemd
		case kubernetes.Is(data):
			return KindKubernetes
		case compose.Is(data):
			return KindCompose
		case inventory.IsInventory(data):
			return KindInventory
		default:
			return ""
		}
	}
	return KindInventory // nothing at all, which that reader words
}

// kind reads a text of one kind. Name is what the file is called; reports call it p.
func (c *collector) kind(p, name string, data []byte, info fs.FileInfo, kind string) {
	switch kind {
	case KindSystemd:
		c.unitText(p, name, data, info)
	case KindKubernetes:
		c.opened(info)
		c.manifests.read(p, data)
	case KindCompose:
		if len(data) > maxFile {
			c.unreadable(p, tooLarge(maxFile))
			return
		}
		c.composeFound(p, data, true)
		c.opened(info)
	case KindInventory:
		if len(data) > maxFile {
			c.unreadable(p, tooLarge(maxFile))
			return
		}
		loads, findings := inventory.Read(report(p), data)
		texts{{report(p), data}}.show(loads, findings)
		c.opened(info)
		c.judgeable(p, loads, findings)
	default:
		c.unreadable(p, errNoKind)
	}
}

// unitText reads a unit that comes as a text, without any drop-ins. Its name is half of what it says.
func (c *collector) unitText(p, name string, data []byte, info fs.FileInfo) {
	name = filepath.Base(name)
	switch {
	case len(data) > maxFile:
		c.unreadable(p, tooLarge(maxFile))
		return
	case p == Stdin && !strings.HasSuffix(name, ".service"):
		c.unreadable(p, errors.New("a unit is known by its name: add --stdin-name NAME.service"))
		return
	case !strings.HasSuffix(name, ".service"):
		name += ".service"
	}
	c.opened(info)
	loads, findings := systemd.Read(systemd.Unit{Name: name, Version: c.options.Version, Files: []systemd.File{{Name: report(p), Data: data}}})
	texts{{report(p), data}}.show(loads, findings)
	c.judgeable(p, loads, findings)
}
