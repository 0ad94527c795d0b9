package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// maxCases bounds what an activation has to ask.
const maxCases = 100

// smokeCase is a request that a bundle brings along, with the verdict that it must get.
type smokeCase struct {
	name  string
	input json.RawMessage // the decision's input, as an audit log has it
	allow bool
	codes []string // of the reasons; nil for any
}

// smokeCases reads the bundle's smoke.json.
func (b *Bundle) smokeCases() ([]smokeCase, error) {
	if b.Smoke == nil {
		return nil, nil
	}
	if err := checkJSON(b.Smoke); err != nil {
		return nil, err
	}
	members, err := object(b.Smoke, "cases")
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := decode(members["cases"], '[', &list); err != nil {
		return nil, fmt.Errorf("cases: %w", err)
	}
	if len(list) == 0 || len(list) > maxCases {
		return nil, fmt.Errorf("%d cases, 1 to %d are allowed", len(list), maxCases)
	}
	cases := make([]smokeCase, len(list))
	for i, raw := range list {
		if cases[i], err = parseCase(raw); err != nil {
			return nil, fmt.Errorf("case %d: %w", i+1, err)
		}
	}
	return cases, nil
}

func parseCase(raw json.RawMessage) (smokeCase, error) {
	var c smokeCase
	members, err := object(raw, "name", "input", "allow", "codes")
	if err != nil {
		return c, err
	}
	if err := decode(members["name"], '"', &c.name); err != nil {
		return c, fmt.Errorf("name: %w", err)
	}
	if err := decode(members["allow"], 't', &c.allow); err != nil {
		return c, fmt.Errorf("allow: %w", err)
	}
	if err := decode(members["input"], '{', &c.input); err != nil {
		return c, fmt.Errorf("input: %w", err)
	}
	if codes, ok := members["codes"]; ok {
		c.codes = []string{}
		if err := decode(codes, '[', &c.codes); err != nil {
			return c, fmt.Errorf("codes: %w", err)
		}
	}
	return c, nil
}

// runSmoke asks a new policy what its bundle says that it must know. What may be loaded must also be askable, since a
// service asks that first.
func (a *activation) runSmoke(ctx context.Context, b *Bundle) error {
	cases, err := b.smokeCases()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBundle, inFile(smokeFile, err))
	}
	for _, c := range cases {
		if err := a.runCase(ctx, &c); err != nil {
			return fmt.Errorf("%w: %s: %.100q: %w", ErrSmoke, smokeFile, c.name, err)
		}
	}
	return nil
}

func (a *activation) runCase(ctx context.Context, c *smokeCase) error {
	var d Decision
	err := a.evaluateRaw(ctx, EntrypointDecision, c.input, func(raw []byte) (err error) {
		d, err = parseDecision(raw)
		return err
	})
	switch {
	case err != nil:
		return err
	case d.Allowed() != c.allow:
		return fmt.Errorf("allow is %v, codes %q", d.Allowed(), d.Codes())
	case c.codes != nil && !slices.Equal(d.Codes(), c.codes):
		return fmt.Errorf("codes are %q", d.Codes())
	case !c.allow:
		return nil
	}
	ask, err := askOf(c.input)
	if err != nil {
		return err
	}
	var may bool
	err = a.evaluateRaw(ctx, EntrypointMayAsk, ask, func(raw []byte) (err error) {
		may, err = parseBool(raw)
		return err
	})
	if err == nil && !may {
		err = errors.New("it is allowed, but may not be asked for")
	}
	return err
}

// evaluateRaw puts an input of the bundle's own to it.
func (a *activation) evaluateRaw(ctx context.Context, entrypoint string, input []byte, read func([]byte) error) error {
	inst, err := a.program.Acquire(ctx)
	if err != nil {
		return err
	}
	inst.Input = append(inst.Input[:0], input...)
	raw, err := inst.Evaluate(ctx, entrypoint)
	if err == nil {
		err = read(raw)
	}
	a.program.Release(inst, err == nil)
	return err
}

// askOf takes the part of a decision's input that may_ask is shown.
func askOf(input json.RawMessage) ([]byte, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(input, &members); err != nil {
		return nil, err
	}
	resource := map[string]json.RawMessage{}
	if raw, ok := members["resource"]; ok && bytes.HasPrefix(raw, []byte("{")) {
		if err := json.Unmarshal(raw, &resource); err != nil {
			return nil, err // not covered: a member that begins with { is an object, or the input would not have been read
		}
	}
	only(resource, "source", "path", "name", "purpose")
	only(members, "api", "subject", "action")
	raw, err := json.Marshal(resource)
	if err != nil {
		return nil, err // not covered: members that were read can be written
	}
	members["resource"] = raw
	return json.Marshal(members)
}

// only drops all members but the named ones.
func only(members map[string]json.RawMessage, names ...string) {
	for name := range members {
		if !slices.Contains(names, name) {
			delete(members, name)
		}
	}
}
