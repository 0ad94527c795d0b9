package rego

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Evidence for POL-5010: smoke.json on its way from the folder into the bundle.

func TestSmokeFileComesAlong(t *testing.T) {
	const smoke = `{"cases":[{"name":"nothing is granted","input":{},"allow":false}]}`
	dir := t.TempDir()
	write(t, dir, "data.json", testGrants)
	without, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "smoke.json", smoke)
	src, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, src)
	if string(b.Smoke) != smoke {
		t.Errorf("POL-5010: the bundle has %q", b.Smoke)
	}
	if plain := open(t, without); plain.Smoke != nil || plain.Manifest.Revision != b.Manifest.Revision {
		t.Errorf("POL-5010: smoke inputs are part of the rules: %q", plain.Smoke)
	}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if stock, err := bundle.NewReader(bytes.NewReader(raw)).Read(); err != nil || len(stock.WasmModules) != 1 || len(stock.Data) != 1 {
		t.Errorf("POL-5010: OPA reads %d modules and the data %v, %v", len(stock.WasmModules), stock.Data, err)
	}
}

func TestBrokenSmokeFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, smoke, want string }{
		"not JSON":      {"smoke.json", "{\n \"cases\": [}", "smoke.json:2:12: "},
		"not a case":    {"smoke.json", `{"cases":[{"name":"a"}]}`, "smoke.json: case 1: "},
		"not at top":    {"sub/smoke.json", "{}", "sub/smoke.json: it belongs at the top of the folder"},
		"repeated name": {"smoke.json", `{"cases":[],"cases":[]}`, `smoke.json:1:13: duplicate member "cases"`},
	} {
		t.Run("POL-5010 "+name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "data.json", testGrants)
			write(t, dir, c.file, c.smoke)
			src, err := ReadDir(dir)
			if err == nil {
				_, err = Build(context.Background(), src)
			}
			if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
