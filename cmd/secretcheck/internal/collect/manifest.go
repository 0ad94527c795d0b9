package collect

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	data, info, err := readBounded(p, kubernetes.MaxFile)
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
		if c.manifests == nil {
			c.manifests = kubernetes.NewReader()
		}
		loads, findings := c.manifests.Read(report(p), data)
		c.read(info)
		c.judgeable(p, loads, findings)
	case isJSON(p):
		if explicit {
			c.unreadable(p, errors.New("no known kind of descriptor: of JSON files, Kubernetes manifests are known"))
		}
	case len(data) > maxFile:
		c.unreadable(p, tooLarge(maxFile))
	case compose.Is(data):
		c.composeFound(p, data, explicit)
		c.read(info)
	case !explicit && !inventory.IsInventory(data):
		c.note(p, descriptor.RuleNoDescriptor, `no Kubernetes manifest, and no inventory: there is no list under "services"`)
	default:
		loads, findings := inventory.Read(report(p), data)
		c.read(info)
		c.judgeable(p, loads, findings)
	}
}

func (c *collector) read(info os.FileInfo) {
	if info != nil {
		c.input.Files = append(c.input.Files, info)
		c.inodes = append(c.inodes, info)
	}
}

// piped reads what another program prints: helm template, kustomize build, kubectl get -o yaml.
func (c *collector) piped(in io.Reader) {
	if !c.first(Stdin) {
		return
	}
	data, err := io.ReadAll(io.LimitReader(in, kubernetes.MaxFile+1))
	if err == nil && len(data) > kubernetes.MaxFile {
		err = tooLarge(kubernetes.MaxFile)
	}
	if err != nil {
		c.unreadable(Stdin, err)
		return
	}
	c.content(Stdin, data, nil, true)
}

func tooLarge(limit int64) error { return fmt.Errorf("larger than %d bytes", limit) }
