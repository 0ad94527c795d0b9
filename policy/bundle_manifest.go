package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// apiV1 is the version of the contract between host and guest: the input's and the result's shape.
const apiV1 = "v1"

// Manifest is what a bundle says about itself: OPA's .manifest, as far as this library understands it.
type Manifest struct {
	Revision    string       // chosen by whoever built it
	Roots       []string     // where in data the bundle lives: "secrets", or everything
	Entrypoints []Entrypoint // what the module answers
	Metadata    Metadata     // ours; a stock OPA writes none
}

// Entrypoint is a query that a module answers; OPA calls it a Wasm resolver.
type Entrypoint struct {
	Entrypoint string `json:"entrypoint"`
	Module     string `json:"module"`
}

// Metadata is what this library adds to OPA's manifest.
type Metadata struct {
	API  string `json:"api,omitempty"`  // version of the contract; "" is "v1"
	Name string `json:"name,omitempty"` // which policy this is
}

// NewManifest returns the manifest of a bundle with the two entrypoints.
func NewManifest(name, revision string) Manifest {
	return Manifest{
		Revision: revision,
		Roots:    []string{"secrets"},
		Entrypoints: []Entrypoint{
			{Entrypoint: EntrypointDecision, Module: "/" + wasmFile},
			{Entrypoint: EntrypointMayAsk, Module: "/" + wasmFile},
		},
		Metadata: Metadata{API: apiV1, Name: name},
	}
}

// marshal writes the manifest as OPA does.
func (m Manifest) marshal() ([]byte, error) {
	return json.Marshal(struct {
		Revision    string       `json:"revision"`
		Roots       []string     `json:"roots,omitempty"`
		Entrypoints []Entrypoint `json:"wasm"`
		RegoVersion int          `json:"rego_version"`
		Metadata    Metadata     `json:"metadata"`
	}{m.Revision, m.Roots, m.Entrypoints, 1, m.Metadata})
}

// parseManifest decodes a manifest. An unknown member is refused: it may ask for something that is not done here.
func parseManifest(raw []byte) (Manifest, error) {
	var m Manifest
	if err := checkJSON(raw); err != nil {
		return m, err
	}
	members, err := object(raw, "revision", "roots", "wasm", "rego_version", "file_rego_versions", "metadata")
	if err != nil {
		return m, err
	}
	for name, raw := range members {
		if err := m.set(name, raw); err != nil {
			return m, fmt.Errorf("%s: %w", name, err)
		}
	}
	return m, nil
}

// set decodes one member into its field.
func (m *Manifest) set(name string, raw json.RawMessage) error {
	switch name {
	case "revision":
		return decode(raw, '"', &m.Revision)
	case "roots":
		return decode(raw, '[', &m.Roots)
	case "wasm":
		return m.setEntrypoints(raw)
	case "metadata":
		return m.setMetadata(raw)
	case "rego_version":
		var version int
		if err := decode(raw, '0', &version); err != nil {
			return err
		}
		if version != 1 {
			return fmt.Errorf("version %d of Rego is not supported, only 1", version)
		}
	case "file_rego_versions":
		return errors.New("files of different Rego versions are not supported")
	}
	return nil
}

// setEntrypoints decodes the list of Wasm resolvers. OPA adds the rules' annotations, which mean nothing here.
func (m *Manifest) setEntrypoints(raw json.RawMessage) error {
	var list []json.RawMessage
	if err := decode(raw, '[', &list); err != nil {
		return err
	}
	for _, raw := range list {
		members, err := object(raw, "entrypoint", "module", "annotations")
		if err != nil {
			return err
		}
		var e Entrypoint
		if err := decode(members["entrypoint"], '"', &e.Entrypoint); err != nil {
			return fmt.Errorf("entrypoint: %w", err)
		}
		if err := decode(members["module"], '"', &e.Module); err != nil {
			return fmt.Errorf("module: %w", err)
		}
		m.Entrypoints = append(m.Entrypoints, e)
	}
	return nil
}

// setMetadata decodes our part of the manifest.
func (m *Manifest) setMetadata(raw json.RawMessage) error {
	members, err := object(raw, "api", "name")
	if err != nil {
		return err
	}
	for name, raw := range members {
		target := &m.Metadata.Name
		if name == "api" {
			target = &m.Metadata.API
		}
		if err := decode(raw, '"', target); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// check reports what keeps a manifest from describing a policy that this library can ask.
func (m Manifest) check() error {
	if !utf8.ValidString(m.Revision) || !utf8.ValidString(m.Metadata.Name) {
		return errors.New("name or revision is not UTF-8")
	}
	if m.Metadata.API != "" && m.Metadata.API != apiV1 {
		return fmt.Errorf("made for API %q, this library speaks %q", m.Metadata.API, apiV1)
	}
	for _, root := range m.Roots {
		if root != "" && root != "secrets" {
			return fmt.Errorf("root %q: a policy lives under %q", root, "secrets")
		}
	}
	var names []string
	for _, e := range m.Entrypoints {
		if e.Module != wasmFile && e.Module != "/"+wasmFile {
			return fmt.Errorf("entrypoint %q is in another module, %q", e.Entrypoint, e.Module)
		}
		if slices.Contains(names, e.Entrypoint) {
			return fmt.Errorf("entrypoint %q is listed twice", e.Entrypoint)
		}
		names = append(names, e.Entrypoint)
	}
	for _, want := range []string{EntrypointDecision, EntrypointMayAsk} {
		if !slices.Contains(names, want) {
			return fmt.Errorf("entrypoint %q is missing", want)
		}
	}
	return nil
}
