package sandbox

// graph tells who can call whom among the functions that a guest defines, by their direct calls.
type graph struct {
	calls     [][]uint32 // by function
	component []int      // by function: that of all with which it forms cycles. Who is called has no higher number
	recursive []bool     // by component: it has a cycle
	depth     []int      // by function: the longest chain that begins with it, one function of a component after another
}

func newGraph(calls [][]uint32) *graph {
	g := &graph{calls: calls, component: make([]int, len(calls)), depth: make([]int, len(calls))}
	t := tarjan{g: g, index: make([]int, len(calls)), low: make([]int, len(calls))}
	for fn := range calls {
		if t.index[fn] == 0 {
			t.visit(uint32(fn))
		}
	}
	for from := 0; from < len(t.order); { // who is called comes first
		to := from
		for ; to < len(t.order) && g.component[t.order[to]] == g.component[t.order[from]]; to++ {
		}
		g.measure(t.order[from:to])
		from = to
	}
	return g
}

// measure works out the depth of a component, whose functions count one after another.
func (g *graph) measure(component []uint32) {
	below := 0
	for _, fn := range component {
		for _, callee := range g.calls[fn] {
			if g.component[callee] != g.component[fn] {
				below = max(below, g.depth[callee])
			}
		}
	}
	for _, fn := range component {
		g.depth[fn] = below + len(component)
	}
}

func (g *graph) recurses(fn int) bool { return g.recursive[g.component[fn]] }

// tarjan is the state of Tarjan's search for cycles. It goes as deep as calls are chained, at most as deep as there are
// functions.
type tarjan struct {
	g          *graph
	count      int
	index, low []int
	stack      []uint32
	order      []uint32 // found so far, component by component
}

// unfinished marks functions that are on the stack.
const unfinished = -1

func (t *tarjan) visit(fn uint32) {
	t.count++
	t.index[fn], t.low[fn] = t.count, t.count
	t.stack = append(t.stack, fn)
	t.g.component[fn] = unfinished
	self := false
	for _, callee := range t.g.calls[fn] {
		self = self || callee == fn
		switch {
		case t.index[callee] == 0:
			t.visit(callee)
			t.low[fn] = min(t.low[fn], t.low[callee])
		case t.g.component[callee] == unfinished:
			t.low[fn] = min(t.low[fn], t.index[callee])
		}
	}
	if t.low[fn] == t.index[fn] {
		t.finish(fn, self)
	}
}

// finish takes the component that fn is the first of off the stack.
func (t *tarjan) finish(fn uint32, self bool) {
	number := len(t.g.recursive)
	for size := 1; ; size++ {
		last := len(t.stack) - 1
		member := t.stack[last]
		t.stack = t.stack[:last]
		t.g.component[member] = number
		t.order = append(t.order, member)
		if member == fn {
			t.g.recursive = append(t.g.recursive, self || size > 1)
			return
		}
	}
}
