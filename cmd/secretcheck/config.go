package main

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/strictyaml"
)

// configName is the file in the working directory whose settings hold where the command line has none.
const configName = ".secretcheck.yaml"

// maxConfig bounds a config, waivers or baseline file, in bytes.
const maxConfig = 64 << 20

// config is where the settings of a check come from.
type config struct {
	file string
	none bool
}

func (c *config) register(flags *pflag.FlagSet) {
	flags.StringVar(&c.file, "config", "", "take what is not given here from `FILE` (default "+configName+", if there is one)")
	flags.BoolVar(&c.none, "no-config", false, "read no config file")
}

// unconfigured lists the flags that a config file cannot set.
func unconfigured() []string { return []string{"config", "no-config", "help"} }

// keysOf lists what a config file can set: the flags by their names, and the paths.
func keysOf(flags *pflag.FlagSet) []string {
	keys := []string{"paths"}
	flags.VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(unconfigured(), f.Name) {
			keys = append(keys, f.Name)
		}
	})
	return keys
}

// apply sets the flags that were not given, and returns the paths of the file where there are none.
func (c *config) apply(flags *pflag.FlagSet, paths []string) ([]string, error) {
	name := c.file
	if name == "" {
		name = configName
	}
	if c.none {
		return paths, nil
	}
	data, err := readBounded(name, maxConfig)
	switch {
	case c.file == "" && errors.Is(err, fs.ErrNotExist):
		return paths, nil
	case err != nil:
		return nil, usage("--config takes a YAML file with flags as keys; see docs/schema/config.schema.json", "config: %w", short(err))
	}
	fromFile, err := c.settings(flags, filepath.Dir(name), data)
	if err != nil {
		return nil, faultIn(name, "config.schema.json", err)
	}
	if len(paths) == 0 {
		paths = fromFile
	}
	return paths, nil
}

// faultIn words an error of a YAML file with its place.
func faultIn(name, schema string, err error) error {
	hint := "docs/schema/" + schema + " says what the file may hold"
	var f *strictyaml.Fault
	if errors.As(err, &f) {
		return usage(hint, "%s:%d:%d: %s", name, f.Line, f.Column, f.Message)
	}
	return usage(hint, "%s: %w", name, err)
}

func (c *config) settings(flags *pflag.FlagSet, dir string, data []byte) (paths []string, err error) {
	root, err := strictyaml.Document(data)
	if err != nil {
		return nil, err
	}
	m, err := strictyaml.Mapping(root, keysOf(flags)...)
	if err != nil {
		return nil, err
	}
	for _, key := range keysOf(flags) {
		n := m[key]
		if n == nil {
			continue
		}
		values, err := scalars(n)
		if err != nil {
			return nil, err
		}
		if slices.Contains([]string{"paths", "policy", "root", "waivers", "baseline"}, key) {
			values = below(dir, values)
		}
		if key == "paths" {
			paths = values
			continue
		}
		if err := set(flags.Lookup(key), n, values); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// set gives a flag the values that the file has, unless the command line has one.
func set(f *pflag.Flag, n *yaml.Node, values []string) error {
	if f.Changed {
		return nil
	}
	if _, many := f.Value.(pflag.SliceValue); !many && n.Kind != yaml.ScalarNode {
		return strictyaml.At(n, "%s takes one value", f.Name)
	}
	for _, v := range values {
		if err := f.Value.Set(v); err != nil {
			return strictyaml.At(n, "%s does not take this value", f.Name)
		}
	}
	return nil
}

// scalars are the values of a list, or the one that stands for itself.
func scalars(n *yaml.Node) ([]string, error) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	var values []string
	for _, v := range list {
		if v.Kind != yaml.ScalarNode || v.Anchor != "" || v.ShortTag() == "!!null" {
			return nil, strictyaml.At(v, "neither a value nor a list of values")
		}
		values = append(values, v.Value)
	}
	return values, nil
}

// below takes relative paths as relative to the folder of the file that names them.
func below(dir string, values []string) []string {
	for i, v := range values {
		if v != "" && v != "-" && !filepath.IsAbs(v) {
			values[i] = filepath.Join(dir, v)
		}
	}
	return values
}
