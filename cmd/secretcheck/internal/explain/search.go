package explain

import (
	"context"
	"slices"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/replay"
	"github.com/llorch/secrets-management/policy"
)

// Bounds of the search: how often the engine is asked, and how many answers of the same size are of use.
const (
	maxAsked = 20_000
	maxSame  = 4
)

// asker puts changed requests to an engine.
type asker struct {
	engine replay.Decider
	asked  int
}

func (a *asker) allows(ctx context.Context, r *policy.Request) (bool, error) {
	a.asked++
	answer, err := replay.Ask(ctx, a.engine, r)
	return answer.Verdict == change.Allowed, err
}

// flips applies edits to a copy of the request and reports whether the answer is the wanted one.
func (a *asker) flips(ctx context.Context, r *policy.Request, edits []edit, wanted bool) (bool, error) {
	changed := copied(r)
	for _, e := range edits {
		e.apply(changed)
	}
	allowed, err := a.allows(ctx, changed)
	return allowed == wanted, err
}

// copied shares no list with the request: edits write into them.
func copied(r *policy.Request) *policy.Request {
	c := *r
	for _, f := range []*policy.File{&c.Resource.File, &c.Resource.OriginFile} {
		for _, p := range []*policy.Principals{&f.Readers, &f.Writers} {
			p.UIDs, p.GIDs = slices.Clone(p.UIDs), slices.Clone(p.GIDs)
		}
	}
	return &c
}

// smallest finds the smallest sets of edits that make a denied request an allowed one, up to maxSame of one size. It first
// makes sure that there is one at all, and how large it is at most: with everything in order, and then with one thing after
// the other left as it was. So the search among smaller sets ends.
func (a *asker) smallest(ctx context.Context, r *policy.Request, edits []edit) ([][]edit, error) {
	bound, err := a.irreducible(ctx, r, edits)
	if err != nil || bound == nil {
		return nil, err
	}
	for size := 1; size <= len(bound); size++ {
		found, err := a.ofSize(ctx, r, edits, size)
		if err != nil || len(found) > 0 {
			return found, err
		}
		if a.asked >= maxAsked {
			break
		}
	}
	return [][]edit{bound}, nil // not covered by smaller sets as far as they were looked at
}

// irreducible is a set of edits of which none can be left out; nil where even all of them are not enough. Of edits of one
// fact it tries each in turn.
func (a *asker) irreducible(ctx context.Context, r *policy.Request, edits []edit) ([]edit, error) {
	for turn := range 4 {
		var set []edit
		for i, e := range edits {
			same := 0
			for _, other := range edits[:i] {
				if other.Fact == e.Fact {
					same++
				}
			}
			if last := slices.IndexFunc(set, func(o edit) bool { return o.Fact == e.Fact }); last < 0 {
				set = append(set, e)
			} else if same <= turn {
				set[last] = e
			}
		}
		ok, err := a.flips(ctx, r, set, true)
		if err != nil {
			return nil, err
		}
		if ok {
			return a.shrink(ctx, r, set)
		}
	}
	return nil, nil
}

func (a *asker) shrink(ctx context.Context, r *policy.Request, set []edit) ([]edit, error) {
	for i := len(set) - 1; i >= 0; i-- {
		less := slices.Delete(slices.Clone(set), i, i+1)
		ok, err := a.flips(ctx, r, less, true)
		if err != nil {
			return nil, err
		}
		if ok {
			set = less
		}
	}
	return set, nil
}

// ofSize tries every set of a size, in the order of the edits.
func (a *asker) ofSize(ctx context.Context, r *policy.Request, edits []edit, size int) (found [][]edit, err error) {
	var try func(from int, set []edit) error
	try = func(from int, set []edit) error {
		if len(set) == size {
			ok, err := a.flips(ctx, r, set, true)
			if ok {
				found = append(found, slices.Clone(set))
			}
			return err
		}
		for i := from; i <= len(edits)-(size-len(set)); i++ {
			if len(found) >= maxSame || a.asked >= maxAsked {
				return ctx.Err()
			}
			if slices.ContainsFunc(set, func(o edit) bool { return o.Fact == edits[i].Fact }) {
				continue
			}
			if err := try(i+1, append(slices.Clone(set), edits[i])); err != nil {
				return err
			}
		}
		return nil
	}
	err = try(0, nil)
	return found, err
}
