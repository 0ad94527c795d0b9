package sandbox

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// Most of what a guest does in a decision is to read JSON, and most of that it has read before: who asks, for one, is
// the same in every request of a process. So an input can be given in parts. A part is parsed when it is first seen, stays
// where evaluations do not reach, and is hung into each input of which it is a part. OPA's runtime never changes a value
// that it was given.

// Bounds of the parts that an instance keeps. Beyond them it forgets all and begins again.
const (
	maxParts     = 64
	maxPartBytes = 256 << 10 // of guest memory
)

// parts are those of one instance, with the functions of OPA's ABI that an evaluation in steps takes.
type parts struct {
	places []string          // Config.Parts
	paths  []uint32          // the same, as values of the guest
	parsed map[string]uint32 // addresses by text
	floor  uint32            // where the guest's memory is free when no part is kept
	free   uint32            // and where it is
	eval   uint32            // the evaluation's context, a structure of the guest

	chosen     bool
	entrypoint uint32 // in that context

	setHeap, getHeap, parse, hang, setEntrypoint, setInput, run, result, dump api.Function
}

// takesParts reports whether the guest has what parts take: all that OPA compiles do.
func (i *Instance) takesParts() bool {
	return i.mod.ExportedFunction("eval") != nil && i.mod.ExportedFunction("opa_value_add_path") != nil
}

// prepareParts looks up the functions and makes what every evaluation has in common.
func (i *Instance) prepareParts(places []string) error {
	p := &i.parts
	p.parsed = map[string]uint32{}
	for _, f := range []struct {
		name            string
		fn              *api.Function
		params, results int
	}{
		{"opa_heap_ptr_set", &p.setHeap, 1, 0},
		{"opa_heap_ptr_get", &p.getHeap, 0, 1},
		{"opa_json_parse", &p.parse, 2, 1},
		{"opa_value_add_path", &p.hang, 3, 1},
		{"opa_eval_ctx_set_entrypoint", &p.setEntrypoint, 2, 0},
		{"opa_eval_ctx_set_input", &p.setInput, 2, 0},
		{"eval", &p.run, 1, 1},
		{"opa_eval_ctx_get_result", &p.result, 1, 1},
		{"opa_json_dump", &p.dump, 1, 1},
	} {
		*f.fn = i.mod.ExportedFunction(f.name)
		if err := i.expect(f.name, *f.fn, f.params, f.results); err != nil {
			return err
		}
	}
	for _, place := range places {
		path, err := i.parseForGood([]byte(place))
		if err != nil {
			return err
		}
		p.paths = append(p.paths, path)
	}
	var err error
	if p.eval, err = i.call("opa_eval_ctx_new"); err != nil {
		return err
	}
	setData := i.mod.ExportedFunction("opa_eval_ctx_set_data")
	if err := i.expect("opa_eval_ctx_set_data", setData, 2, 0); err != nil {
		return err
	}
	if _, err := i.step(setData, p.eval, i.data); err != nil {
		return err
	}
	p.floor, err = i.step(p.getHeap)
	p.free = p.floor
	return err
}

// evaluateParts is an evaluation in steps. It returns the address of the result's text.
func (i *Instance) evaluateParts(entrypoint uint32) (uint32, error) {
	p := &i.parts
	if len(p.parsed)+len(i.Parts) > maxParts || p.free-p.floor > maxPartBytes {
		clear(p.parsed)
		p.free = p.floor
	}
	for _, text := range i.Parts {
		if err := i.keep(text); err != nil {
			return 0, err
		}
	}
	input, err := i.read(p.free, i.Input)
	if err != nil {
		return 0, err
	}
	for k, text := range i.Parts {
		if len(text) == 0 {
			continue
		}
		if code, err := i.step(p.hang, input, p.paths[k], p.parsed[string(text)]); err != nil || code != 0 {
			return 0, errors.Join(err, fmt.Errorf("the guest cannot take part %d of the input", k))
		}
	}
	if err := i.choose(entrypoint); err != nil {
		return 0, err
	}
	if _, err := i.step(p.setInput, p.eval, input); err != nil {
		return 0, err
	}
	if code, err := i.step(p.run, p.eval); err != nil || code != 0 {
		return 0, errors.Join(err, errors.New("the evaluation failed"))
	}
	result, err := i.step(p.result, p.eval)
	if err != nil {
		return 0, err
	}
	return i.step(p.dump, result)
}

// choose tells the evaluation's context what to evaluate, where that is not what it was the last time.
func (i *Instance) choose(entrypoint uint32) error {
	p := &i.parts
	if p.chosen && p.entrypoint == entrypoint {
		return nil
	}
	_, err := i.step(p.setEntrypoint, p.eval, entrypoint)
	p.chosen, p.entrypoint = true, entrypoint
	return err
}

// keep parses a part that has not been seen before.
func (i *Instance) keep(text []byte) error {
	p := &i.parts
	if len(text) == 0 || p.parsed[string(text)] != 0 {
		return nil
	}
	value, err := i.read(p.free, text)
	if err != nil {
		return err
	}
	p.parsed[string(text)] = value
	p.free, err = i.step(p.getHeap)
	return err
}

// read has the guest parse text, which is put where its free memory begins.
func (i *Instance) read(at uint32, text []byte) (uint32, error) {
	if err := i.place(at, text); err != nil {
		return 0, err
	}
	n := uint32(len(text)) //nolint:gosec // G115: at most Limits.InputBytes
	if _, err := i.step(i.parts.setHeap, at+n); err != nil {
		return 0, err
	}
	value, err := i.step(i.parts.parse, at, n)
	if err == nil && value == 0 {
		err = errors.New("the guest cannot parse its input")
	}
	return value, err
}
