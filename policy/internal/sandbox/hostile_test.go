package sandbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"go.uber.org/goleak"
)

// TestMain: POL-4001. No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A hostile input makes hostile guests misbehave, an honest one does not.
var (
	hostile = []byte(`"` + strings.Repeat("h", longInput) + `"`)
	honest  = []byte("{}")
)

const entrypoint = "secrets/load/decision"

// run opens a program over a guest without data.
func run(t testing.TB, module []byte, interpreter bool, limits Limits) *Program {
	t.Helper()
	p, err := start(t.Context(), module, interpreter, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// start opens a program and makes its first instance.
func start(ctx context.Context, module []byte, interpreter bool, limits Limits) (*Program, error) {
	limits, err := limits.Resolve()
	if err != nil {
		return nil, err
	}
	p, err := Open(ctx, module, []byte("{}"), Config{Limits: limits, Interpreter: interpreter, Entrypoints: []string{entrypoint}})
	if err != nil {
		return nil, err
	}
	inst, err := p.Acquire(ctx)
	if err != nil {
		p.Close()
		return nil, err
	}
	p.Release(inst, true)
	return p, nil
}

// evaluate returns a copy of what a guest answers.
func evaluate(ctx context.Context, p *Program, input []byte) (string, error) {
	inst, err := p.Acquire(ctx)
	if err != nil {
		return "", err
	}
	inst.Input = append(inst.Input[:0], input...)
	raw, err := inst.Evaluate(ctx, entrypoint)
	answer := string(raw)
	p.Release(inst, err == nil)
	return answer, err
}

var engines = map[string]bool{"compiler": false, "interpreter": true}

// TestHostileGuests: every attack is stopped with its error, in time, by either engine, and what comes after it is judged
// as if nothing had been.
func TestHostileGuests(t *testing.T) {
	all := attacks()
	if len(all) < 25 {
		t.Errorf("POL-4001: %d attacks", len(all))
	}
	for name, a := range all {
		for engine, interpreter := range engines {
			t.Run("POL-2001 POL-4001/"+name+"/"+engine, func(t *testing.T) {
				limits := Limits{Instances: 1, Fuel: 5_000_000, Deadline: time.Second, LoadingBudget: 50 * time.Millisecond}
				if a.loading {
					p, err := start(t.Context(), a.guest.build(), interpreter, limits)
					if p != nil || !errors.Is(err, a.want) {
						t.Errorf("error %v, want %v", err, a.want)
					}
					return
				}
				limits.LoadingBudget = 0
				p := run(t, a.guest.build(), interpreter, limits)
				for range 2 {
					attackOnce(t, p, a)
				}
			})
		}
	}
}

func attackOnce(t *testing.T, p *Program, a attack) {
	t.Helper()
	before := time.Now()
	answer, err := evaluate(t.Context(), p, hostile)
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if answer != "" || !errors.Is(err, a.want) {
		t.Errorf("answer %.100q, error %v, want %v", answer, err, a.want)
	}
	if err != nil && len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
	if _, ok := a.guest.abi["opa_heap_ptr_get"]; ok {
		return // it cannot be asked at all
	}
	if answer, err := evaluate(t.Context(), p, honest); err != nil || answer != denyJSON {
		t.Errorf("the next honest request: %q, error %v", answer, err)
	}
}

// TestHostileControl: POL-4001. Each attack does what it is for where nothing stops it.
func TestHostileControl(t *testing.T) {
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			guest := a.guest
			if a.bounded != nil {
				guest = *a.bounded
			}
			end := time.Minute
			if a.forever {
				end = plainFor
			}
			if r := plain(t, guest.build(), guest.pages, end); !a.works(&r) {
				t.Errorf("error %v after %v, result %d, %d bytes of memory, %d calls, %d bytes allocated, then %.40q",
					r.err, r.took, r.result, len(r.memory), r.calls, r.alloc, r.next)
			}
		})
	}
}

// refusal is a module that must not come to run. Its control shows what it would get by with.
type refusal struct {
	module  []byte
	says    string
	control func(testing.TB, []byte) bool
}

func refusals() map[string]refusal {
	one, two := accepted(features), accepted(api.CoreFeaturesV2)
	threads := accepted(api.CoreFeaturesV2 | experimental.CoreFeaturesThreads)
	tails := accepted(api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall)
	sections := func(id sectionID, body []byte) []byte {
		return (&asmGuest{sections: map[sectionID][]byte{id: body}}).build()
	}
	eval := func(body ...[]byte) []byte { return (&asmGuest{eval: cat(body...)}).build() }
	extra := func(f asmFunc) []byte { return (&asmGuest{extra: []asmFunc{f}}).build() }
	build := func(g asmGuest) []byte { return g.build() }
	last := (&asmGuest{}).fn(0) // one past the functions of a guest without extras
	deep := cat(slices.Repeat([]byte{opBlock, typeNone}, maxNesting+1), slices.Repeat([]byte{opEnd}, maxNesting+1))
	loops := slices.Repeat([]byte{opLoop, typeNone, opEnd}, maxLoops+1)
	branches := slices.Repeat(cat(i32const(0), []byte{opBrIf, 0}), 14_200)
	multiplexer := cat([]byte{opBlock, typeNone}, i32const(0), []byte{opBrTable}, appendU32(nil, 20_000), make([]byte, 20_001), []byte{opEnd})
	everywhere := slices.Repeat([]asmFunc{{typ: typeVoid, locals: maxLocals}}, maxAllLocals/maxLocals+1)
	println := importing("opa_println", typeSink, nil)
	printlnInTable := println
	printlnInTable.table, printlnInTable.elements = []byte{1, 0x70, 0, 1}, vec(cat([]byte{0}, i32const(0), []byte{opEnd}, vec([]byte{0})))
	return map[string]refusal{
		"imports WASI":                   {build(asmGuest{imports: []string{"random_get"}, importAs: typeTwo, module: wasi_snapshot_preview1.ModuleName, eval: cat(i32const(16384), i32const(32), call([]byte{0}), drop, i32const(addrDeny))}), `"wasi_snapshot_preview1"."random_get"`, drawsRandomness},
		"imports a clock":                {build(asmGuest{imports: []string{"now"}}), `"env"."now"`, one},
		"imports the network":            {build(asmGuest{imports: []string{"http_send"}, module: "http"}), `"http"."http_send"`, one},
		"imports the hook":               {build(asmGuest{imports: []string{hookName}, importAs: typeGet, module: hookModule}), `"engine"."refill"`, one},
		"imports with a name of 1 MiB":   {build(asmGuest{imports: []string{strings.Repeat("\x1b[2J", mib/4)}}), "not offered", one},
		"imports from a long module":     {build(asmGuest{imports: []string{"x"}, module: strings.Repeat("\x1b[2J", mib/4)}), "not offered", one},
		"imports by the wrong type":      {build(asmGuest{imports: []string{"opa_abort"}}), "wrong type", one},
		"exports engine.fuel":            {build(asmGuest{exports: map[string]uint32{exportFuel: 0}}), "is taken", one},
		"exports engine.stack":           {build(asmGuest{exports: map[string]uint32{exportStack: 0}}), "is taken", one},
		"global.set one past its own":    {eval([]byte{opI64Const, 0, opGlobalSet, 2}, i32const(0)), "global", fillsItsTank},
		"global.set two past its own":    {eval([]byte{opI64Const, 0, opGlobalSet, 3}, i32const(0)), "global", outputAccepted},
		"global.get one past its own":    {eval([]byte{opGlobalGet, 2}, drop, i32const(0)), "global", outputAccepted},
		"exports a global one past":      {build(asmGuest{exports: map[string]uint32{"mine": 2}}), "global", outputAccepted},
		"calls one past its own":         {eval(call(last), i32const(0)), "function", outputAccepted},
		"starts one past its own":        {build(asmGuest{start: []byte{0x01}, sections: map[sectionID][]byte{secStart: (&asmGuest{}).fn(1)}}), "start function", outputAccepted},
		"table holds one past its own":   {build(asmGuest{table: []byte{1, 0x70, 0, 1}, elements: vec(cat([]byte{0}, i32const(0), []byte{opEnd}, vec(last)))}), "element", outputAccepted},
		"indirect call, type one past":   {build(asmGuest{table: []byte{1, 0x70, 0, 1}, eval: indirect(0, typeWide+1)}), "type index", outputAccepted},
		"table holds a host function":    {build(printlnInTable), "in the table", one},
		"exports a host function":        {build(asmGuest{imports: []string{"opa_println"}, importAs: typeSink, sections: map[sectionID][]byte{secExport: vec(append(appendName(nil, "opa_eval"), kindFunc, 0))}}), "in the exports", one},
		"memory of its own":              {build(asmGuest{sections: map[sectionID][]byte{secImport: {0}, secMemory: {1, 0, 1}}}), "memory of its own", one},
		"starts with 4 GiB":              {build(asmGuest{pages: 65536}), "pages of memory", one},
		"starts with more than its data": {build(asmGuest{pages: 1025}), "pages of memory", wazeroPanics},
		"shared memory":                  {sections(secImport, vec(append(appendName(appendName(nil, envModule), memoryImport), kindMemory, 3, 1, 1))), "shared", threads},
		"too many locals":                {extra(asmFunc{typ: typeVoid, locals: maxLocals + 1}), "locals", one},
		"locals everywhere":              {build(asmGuest{extra: everywhere}), "locals", one},
		"deep nesting":                   {extra(asmFunc{typ: typeVoid, body: deep}), "nested", one},
		"values that meet":               {extra(asmFunc{typ: typeVoid, locals: 1000, body: mergeBomb(1000, 150)}), "too many locals in too many blocks", slowToCompile},
		"loops side by side":             {extra(asmFunc{typ: typeVoid, body: loops}), "loops", slowToCompile},
		"branches side by side":          {extra(asmFunc{typ: typeVoid, body: branches}), "too many branches", one},
		"a multiplexer of many branches": {extra(asmFunc{typ: typeVoid, body: multiplexer}), "too many branches", slowToCompile},
		"operands that wait":             {extra(asmFunc{typ: typeOne, body: operandBomb(10_000, 600)}), "too many values over", slowToCompile},
		"locals set long before":         {extra(asmFunc{typ: typeOne, locals: 1000, body: searchBomb(1000, 950)}), "too many values over", slowToCompile},
		"giant function":                 {extra(asmFunc{typ: typeVoid, body: slices.Repeat([]byte{0x01}, maxBody)}), "bytes, at most", one},
		"2 million data segments":        {sections(secData, appendU32(nil, 2<<20)), "data segments", allocates(64 * mib)},
		"2 million element segments":     {sections(secElement, appendU32(nil, 2<<20)), "element segments", allocates(64 * mib)},
		"2 million elements":             {build(asmGuest{table: []byte{1, 0x70, 0, 1}, elements: cat([]byte{1, 0}, i32const(0), []byte{opEnd}, appendU32(nil, 20<<20))}), "elements, at most", allocates(64 * mib)},
		"huge table":                     {build(asmGuest{table: []byte{1, 0x70, 1, 0xff, 0xff, 0x3f, 0xff, 0xff, 0x3f}}), "table", one},
		"two tables":                     {build(asmGuest{table: []byte{2, 0x70, 0, 1, 0x70, 0, 1}}), "tables", two},
		"data outside the memory":        {sections(secData, cat([]byte{1, 0}, i32const(1<<30), []byte{opEnd, 1, 0})), "data", one},
		"elements outside the table":     {build(asmGuest{table: []byte{1, 0x70, 0, 1}, elements: vec(cat([]byte{0}, i32const(9), []byte{opEnd}, vec([]byte{0})))}), "table", two},
		"passive data":                   {sections(secData, []byte{1, 1, 1, 0}), "data segment", two},
		"bulk memory":                    {eval(i32const(0), i32const(0), i32const(9), []byte{0xfc, 11, 0}, i32const(0)), "malformed module", two},
		"reference types":                {eval([]byte{0xd0, 0x70}, drop, i32const(0)), "malformed module", two},
		"vectors":                        {eval([]byte{0xfd, 12}, make([]byte, 16), drop, i32const(0)), "malformed module", two},
		"sign extension":                 {eval(i32const(0), []byte{0xc0}), "invalid policy module", two},
		"several results":                {sections(secType, vec(append(asmTypes(), funcTypeOf(0, 2))...)), "2 results", two},
		"tail calls":                     {eval([]byte{0x12, 3}), "malformed module", tails},
	}
}

func TestRefusedModules(t *testing.T) {
	for name, r := range refusals() {
		t.Run("POL-2002 POL-4002/"+name, func(t *testing.T) {
			_, err := start(t.Context(), r.module, false, Limits{})
			if err == nil || !strings.Contains(err.Error(), r.says) {
				t.Fatalf("error %.300v, want one that says %q", err, r.says)
			}
			if len(err.Error()) > 1000 || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("an error of %d bytes: %.100q", len(err.Error()), err)
			}
			if answer, err := evaluate(t.Context(), run(t, (&asmGuest{}).build(), false, Limits{}), honest); err != nil || answer != denyJSON {
				t.Errorf("the next module: %q, error %v", answer, err)
			}
		})
	}
}

// TestRefusedControl: POL-4002. Each refused module would get somewhere: wazero takes it, or pays for it.
func TestRefusedControl(t *testing.T) {
	for name, r := range refusals() {
		t.Run(name, func(t *testing.T) {
			if !r.control(t, r.module) {
				t.Error("the attack does not work without the defence either")
			}
		})
	}
}

// TestDamagedModules: POL-4002. What wazero would refuse as well is refused before anything of it is believed.
func TestDamagedModules(t *testing.T) {
	whole := (&asmGuest{}).build()
	overlong := append(slices.Clone(wasmHeader), byte(secType), 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0)
	tests := map[string]struct {
		module []byte
		says   string
	}{
		"empty":                   {nil, "not a WebAssembly"},
		"not Wasm":                {[]byte("#!/bin/sh\n"), "not a WebAssembly"},
		"the header alone":        {wasmHeader, "missing"},
		"a later version":         {append([]byte("\x00asm\x02\x00\x00\x00"), whole[8:]...), "not a WebAssembly"},
		"a component":             {append([]byte("\x00asm\x0d\x00\x01\x00"), whole[8:]...), "not a WebAssembly"},
		"a section twice":         {append(slices.Clone(whole), whole[8:]...), "out of order"},
		"an unknown section":      {append(slices.Clone(whole), 13, 0), "not allowed"},
		"a number without an end": {overlong, "too large"},
		"a section past the end":  {append(slices.Clone(wasmHeader), byte(secType), 0xff, 0xff, 0xff, 0xff, 0x0f), "beyond the end"},
		"bytes behind a section":  {(&asmGuest{start: []byte{0x01}, sections: map[sectionID][]byte{secStart: {7, 0}}}).build(), "trailing bytes"},
		"bodies without functions": {
			(&asmGuest{sections: map[sectionID][]byte{secFunction: {0}}}).build(), "bodies for 0 functions",
		},
		"a body without an end":      {(&asmGuest{sections: map[sectionID][]byte{secFunction: {1, 0}, secCode: {1, 2, 0, 1}}}).build(), "without an end"},
		"code behind the end":        {(&asmGuest{extra: []asmFunc{{typ: typeVoid, body: []byte{opEnd, 1}}}}).build(), "behind the end"},
		"a long encoding of a table": {(&asmGuest{table: []byte{1, 0x70, 0, 1}, eval: cat(i32const(0), []byte{opCallIndirect, typeGet, 0x80, 0})}).build(), "reserved"},
		"two memory imports": {
			(&asmGuest{sections: map[sectionID][]byte{secImport: vec(slices.Repeat([][]byte{append(appendName(appendName(nil, envModule), memoryImport), kindMemory, 0, 1)}, 2)...)}}).build(), "not offered",
		},
	}
	for n := range len(whole) { // every truncation, but that which cuts off whole sections that may be absent
		if _, err := start(t.Context(), whole[:n], true, Limits{}); err == nil {
			t.Errorf("cut off at byte %d of %d: accepted", n, len(whole))
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := start(t.Context(), tt.module, false, Limits{}); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// mergeBomb changes every local in the innermost of nested loops: a value of each meets at each loop.
func mergeBomb(locals, loops int) []byte {
	b := slices.Repeat([]byte{opLoop, typeNone}, loops)
	for i := range locals {
		b = appendU32(cat(appendU32(append(b, 0x20), uint32(i)), i32const(1), []byte{opI32Add, 0x21}), uint32(i))
	}
	return append(b, slices.Repeat([]byte{opEnd}, loops)...)
}

// operandBomb keeps many values on the stack over many branches.
func operandBomb(values, branches int) []byte {
	return cat(slices.Repeat([]byte{0x20, 0, 0x28, 2, 0}, values),
		slices.Repeat([]byte{opBlock, typeNone, 0x20, 0, opBrIf, 0, opEnd}, branches),
		slices.Repeat([]byte{opI32Add}, values-1))
}

// searchBomb sets locals, and reads them again where many branches meet.
func searchBomb(locals, branches int) []byte {
	var sets, gets []byte
	for i := range locals {
		sets = appendU32(append(sets, 0x20, 0, 0x28, 2, 0, opLocalSet), uint32(i+1))
		gets = append(appendU32(append(gets, 0x20), uint32(i+1)), opDrop)
	}
	return cat(sets, []byte{opBlock, typeNone}, slices.Repeat([]byte{0x20, 0, opBrIf, 0}, branches), []byte{opEnd}, gets, i32const(0))
}

// TestCustomSectionsAreNotRead: the names in one of 20 bytes would have wazero allocate 100 GB, which ends the process. The
// control is content with less.
func TestCustomSectionsAreNotRead(t *testing.T) { // POL-4002
	with := func(count uint32) []byte {
		names := cat(appendName(nil, "name"), []byte{1}, appendBytes(nil, appendU32(nil, count)))
		return appendBytes(append((&asmGuest{}).build(), byte(secCustom)), names)
	}
	run(t, with(0xffffffff), false, Limits{})
	if !allocates(16*mib)(t, with(1<<20)) {
		t.Error("wazero does not believe the count either")
	}
}

// TestPanicsOfWazeroAreErrors: POL-4002. The last resort, when something has been overlooked.
func TestPanicsOfWazeroAreErrors(t *testing.T) {
	p := unwilling(t, (&asmGuest{pages: 1025}).build())
	if answer, err := evaluate(t.Context(), p, honest); !errors.Is(err, ErrLimit) && !errors.Is(err, ErrEvaluation) {
		t.Errorf("%q, error %v", answer, err)
	}
}

// TestBareGuest is the control of the tests above: the assembler's guest itself is acceptable.
func TestBareGuest(t *testing.T) {
	p := run(t, (&asmGuest{}).build(), false, Limits{Instances: 1})
	for _, want := range []string{denyJSON, denyJSON} {
		if answer, err := evaluate(t.Context(), p, hostile); err != nil || answer != want {
			t.Errorf("%q, error %v", answer, err)
		}
	}
}
