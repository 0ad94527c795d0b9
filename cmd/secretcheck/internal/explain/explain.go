package explain

import (
	"context"

	"github.com/llorch/secrets-management/policy"
)

// Flip is a smallest set of changes that turns the verdict around. The engine has said so.
type Flip struct {
	Kind    string   `json:"kind"` // "facts", "grants", or "both"
	Changes []Change `json:"changes"`
}

// Flips looks for what would turn a verdict around.
type Flips struct {
	Bundle *policy.Bundle
	Engine *policy.Engine // of the bundle
	Open   func(ctx context.Context, b *policy.Bundle) (*policy.Engine, error)

	grants []policy.Grant // of the service; nil where the data is not grants
	doc    *document
	opened int
}

// maxOpened bounds how many changes to the grants are tried: each is a policy of its own.
const maxOpened = 64

// Find lists the smallest changes that turn the verdict on a request around, which named these grants: facts that would be
// others, a grant that would be, and where neither is enough, both. Of an allow, every single fact that would deny it.
func (f *Flips) Find(ctx context.Context, r *policy.Request, allowed bool, named []string) ([]Flip, error) {
	if all, err := policy.ParseGrants(f.Bundle.Data); err == nil {
		f.grants = all.Services[r.Subject.Service]
		if f.doc, err = readDocument(f.Bundle.Data, r.Subject.Service); err != nil {
			return nil, err
		}
	}
	if allowed {
		return f.denying(ctx, r, named)
	}
	facts, err := f.facts(ctx, r, f.Engine)
	if err != nil || f.doc == nil {
		return facts, err
	}
	grants, err := f.widened(ctx, r, named)
	if err != nil || len(facts)+len(grants) > 0 {
		return append(facts, grants...), err
	}
	return f.both(ctx, r, named)
}

func (f *Flips) facts(ctx context.Context, r *policy.Request, engine *policy.Engine) ([]Flip, error) {
	a := &asker{engine: engine}
	sets, err := a.smallest(ctx, r, mends(r, f.grants))
	var list []Flip
	for _, set := range sets {
		flip := Flip{Kind: "facts"}
		for _, e := range set {
			flip.Changes = append(flip.Changes, e.Change)
		}
		list = append(list, flip)
	}
	return list, err
}

// denying lists the facts that an allow rests on, and the grants.
func (f *Flips) denying(ctx context.Context, r *policy.Request, named []string) (list []Flip, err error) {
	a := &asker{engine: f.Engine}
	for _, e := range spoils(r) {
		ok, err := a.flips(ctx, r, []edit{e}, false)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, Flip{"facts", []Change{e.Change}})
		}
	}
	if f.doc == nil || len(named) == 0 {
		return list, nil
	}
	found := false
	for _, id := range named {
		ok, err := f.decides(ctx, r, []grantEdit{removed(id)}, false)
		if err != nil {
			return nil, err
		}
		if ok {
			found = true
			list = append(list, Flip{"grants", []Change{removed(id).Change}})
		}
	}
	if !found && len(named) > 1 {
		ok, err := f.decides(ctx, r, []grantEdit{removed(named...)}, false)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, Flip{"grants", []Change{removed(named...).Change}})
		}
	}
	return list, nil
}

// widened finds the smallest changes to one grant, or the new one, that let a request pass.
func (f *Flips) widened(ctx context.Context, r *policy.Request, named []string) (list []Flip, err error) {
	edits := widenings(r, f.grants, named)
	for size := 1; size <= 3 && len(list) == 0; size++ {
		for _, set := range sets(edits, size) {
			if len(list) >= maxSame || f.opened >= maxOpened {
				return list, nil
			}
			ok, err := f.decides(ctx, r, set, true)
			if err != nil {
				return nil, err
			}
			if ok {
				list = append(list, asFlip("grants", set, nil))
			}
		}
	}
	return list, nil
}

// sets lists the sets of a size whose edits are of one grant.
func sets(edits []grantEdit, size int) (list [][]grantEdit) {
	var grow func(from int, set []grantEdit)
	grow = func(from int, set []grantEdit) {
		if len(set) == size {
			list = append(list, append([]grantEdit{}, set...))
			return
		}
		for i := from; i < len(edits); i++ {
			if len(set) == 0 || set[0].grant == edits[i].grant && edits[i].grant != "" {
				grow(i+1, append(append([]grantEdit{}, set...), edits[i]))
			}
		}
	}
	grow(0, nil)
	return list
}

func asFlip(kind string, set []grantEdit, facts []Change) Flip {
	flip := Flip{Kind: kind}
	for _, e := range set {
		flip.Changes = append(flip.Changes, e.Change)
	}
	flip.Changes = append(flip.Changes, facts...)
	return flip
}

// decides reports whether the engine, with changed grants, gives the wanted answer. What is no policy gives none.
func (f *Flips) decides(ctx context.Context, r *policy.Request, edits []grantEdit, wanted bool) (bool, error) {
	engine, err := f.changed(ctx, edits)
	if err != nil || engine == nil {
		return false, err
	}
	defer engine.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	allowed, err := (&asker{engine: engine}).allows(ctx, r)
	return allowed == wanted, err
}

// changed opens the policy with other grants; nil where the policy does not take them.
func (f *Flips) changed(ctx context.Context, edits []grantEdit) (*policy.Engine, error) {
	data, err := f.doc.with(edits)
	if err != nil {
		return nil, err
	}
	if _, err := policy.ParseGrants(data); err != nil {
		return nil, nil //nolint:nilerr,nilnil // such as two fields that contradict each other: no answer is to be had
	}
	f.opened++
	b := *f.Bundle
	b.Data, b.Smoke = data, nil
	return f.Open(ctx, &b)
}

// both finds the facts that would have to be others besides a grant.
func (f *Flips) both(ctx context.Context, r *policy.Request, named []string) ([]Flip, error) {
	for _, e := range widenings(r, f.grants, named) {
		if f.opened >= maxOpened {
			break
		}
		engine, err := f.changed(ctx, []grantEdit{e})
		if err != nil || engine == nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		facts, err := f.facts(ctx, r, engine)
		engine.Close() //nolint:contextcheck // as above
		if err != nil {
			return nil, err
		}
		if len(facts) > 0 {
			var list []Flip
			for _, x := range facts {
				list = append(list, asFlip("both", []grantEdit{e}, x.Changes))
			}
			return list, nil
		}
	}
	return nil, nil
}
