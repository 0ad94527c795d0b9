package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Facts describe a module. All but the last two members are read off its bytes, without running any of it.
type Facts struct {
	Engine      string   // that would run it: "compiler" or "interpreter"
	Imports     []string // besides the memory
	StartPages  uint32   // memory at the start, in pages of 64 KiB
	MostPages   uint32   // what it may grow to
	CodeBytes   int      // of the code section
	StaticBytes int      // of the data section: the constants of the rules and of OPA's runtime
	Functions   int      // that it defines
	Types       int
	Globals     int
	Table       int // entries
	Calls       Calls

	Builtins    []string // of Rego that it wants from the host
	Entrypoints []string
}

// Calls describe the graph of direct calls. What is called through the table cannot be told from the code.
type Calls struct {
	Depth     int // the longest chain of functions in which none comes twice through recursion
	Recursive int // functions that can come to call themselves
	Indirect  int // places that call through the table
}

// Inspect describes a module that [Open] would accept, whatever builtins it wants. Its start function is run, and those
// that name builtins and entrypoints, within the limits.
func Inspect(ctx context.Context, module []byte, c Config) (*Facts, error) {
	c.Parts, c.Entrypoints, c.Limits.Instances = nil, nil, 1
	p, err := Open(ctx, module, nil, c)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	r, err := read(module, c.Limits)
	if err != nil { // unreachable: Open did the same
		return nil, fmt.Errorf("%w: %w", ErrModule, err)
	}
	f := &Facts{
		Engine: p.Engine(), Imports: r.imported, StartPages: r.minMem, MostPages: c.Limits.maxPages(),
		Functions: len(r.funcs), Types: len(r.types), Globals: int(r.globals), Calls: callsOf(r),
	}
	f.sections(r.plain)
	return f, f.names(ctx, p)
}

// callsOf needs a module that wazero accepted.
func callsOf(r *rewriter) Calls {
	c := Calls{Indirect: r.indirect}
	g := newGraph(r.calls)
	for fn := range r.calls {
		c.Depth = max(c.Depth, g.depth[fn])
		if g.recurses(fn) {
			c.Recursive++
		}
	}
	return c
}

// names asks the guest itself.
func (f *Facts) names(ctx context.Context, p *Program) error {
	i, err := instantiate(ctx, p)
	if err != nil {
		return err
	}
	defer i.close()
	for function, list := range map[string]*[]string{"builtins": &f.Builtins, "entrypoints": &f.Entrypoints} {
		numbers, err := i.namedNumbers(function)
		if err != nil {
			return i.explain(err)
		}
		*list = slices.Sorted(maps.Keys(numbers))
	}
	return nil
}

// sections measures what the rewriter has no need of.
func (f *Facts) sections(module []byte) {
	c := &cursor{b: module, i: len(wasmHeader)}
	for c.more() {
		id, body := sectionID(c.byte()), c.take(c.u32())
		switch id { //nolint:exhaustive // the others are known
		case secTable:
			f.Table = tableEntries(body)
		case secCode:
			f.CodeBytes = len(body)
		case secData:
			f.StaticBytes = len(body)
		}
	}
}

func tableEntries(section []byte) int {
	c := &cursor{b: section}
	if c.u32() == 0 {
		return 0
	}
	c.byte() // of functions
	c.byte() // with or without a maximum
	return int(c.u32())
}
