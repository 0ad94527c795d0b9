package collect

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/compose"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/inventory"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
)

// Stdin is the argument that stands for what is piped in, and the name of that in reports.
const Stdin = "-"

func isYAML(p string) bool { return strings.HasSuffix(p, ".yaml") || strings.HasSuffix(p, ".yml") }

func isJSON(p string) bool { return strings.HasSuffix(p, ".json") }

// structured reads a file of YAML or JSON, whose content says which kind of descriptor it is.
func (c *collector) structured(p string, explicit bool) {
	if !c.first(p) {
		return
	}
	data, info, err := c.readBounded(p, kubernetes.MaxFile)
	if err != nil {
		if explicit || !isJSON(p) {
			c.unreadable(p, err)
		} else {
			c.note(p, descriptor.RuleNoDescriptor, "no Kubernetes manifest that can be read: "+reason(err))
		}
		return
	}
	c.content(p, data, info, explicit)
}

// content reads what a file or a pipe holds.
func (c *collector) content(p string, data []byte, info os.FileInfo, explicit bool) {
	switch {
	case kubernetes.Is(data):
		c.kind(p, p, data, info, KindKubernetes)
	case isJSON(p):
		if explicit {
			c.unreadable(p, errors.New("no known kind of descriptor: of JSON files, Kubernetes manifests are known"))
		}
	case compose.Is(data) && len(data) <= maxFile:
		c.composeFound(p, data, explicit)
		c.opened(info)
	case !explicit && len(data) <= maxFile && !inventory.IsInventory(data):
		c.note(p, descriptor.RuleNoDescriptor, `no Kubernetes manifest, and no inventory: there is no list under "services"`)
	default:
		c.kind(p, p, data, info, KindInventory)
	}
}

func (c *collector) opened(info os.FileInfo) {
	if info != nil {
		c.input.Files = append(c.input.Files, info)
		c.inodes = append(c.inodes, info)
	}
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d bytes", limit) }

// manifests reads manifests on all processors, while others are looked for: YAML takes longer than anything else.
type manifests struct {
	reader *kubernetes.Reader // made for the first
	busy   chan struct{}      // bounds how many texts are in memory
	found  []*found
}

// found is a manifest that is being read.
type found struct {
	path     string
	loads    []descriptor.Load
	findings []descriptor.Finding
	done     chan struct{}
}

// kubernetes is the reader, which any number of goroutines may use.
func (m *manifests) kubernetes() *kubernetes.Reader {
	if m.reader == nil {
		m.reader, m.busy = kubernetes.NewReader(), make(chan struct{}, runtime.GOMAXPROCS(0))
	}
	return m.reader
}

func (m *manifests) read(p string, data []byte) {
	reader, f, name := m.kubernetes(), &found{path: p, done: make(chan struct{})}, report(p)
	m.found = append(m.found, f)
	m.busy <- struct{}{}
	go func() {
		defer func() { <-m.busy; close(f.done) }()
		f.loads, f.findings = reader.Read(name, data)
		texts{{name, data}}.show(f.loads, f.findings)
	}()
}

// each hands over what was read, in the order in which it was found.
func (m *manifests) each(add func(p string, loads []descriptor.Load, findings []descriptor.Finding)) {
	for _, f := range m.found {
		<-f.done
		add(f.path, f.loads, f.findings)
	}
}
