package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/cedar-policy/cedar-go"
	"github.com/open-policy-agent/opa/v1/ast"
	_ "github.com/open-policy-agent/opa/v1/features/wasm" // OPA's own way to run Wasm
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/llorch/secrets-management/policy"
)

// opaPeer is OPA's evaluator on the same rules and data, from the typed request as well: its input is made by hand, which
// is the fastest way that there is.
func opaPeer(r *policy.Request, allowed bool, failed *error) (func(), error) {
	q, err := prepared()
	if err != nil {
		return nil, err
	}
	text, err := r.MarshalJSON()
	if err != nil {
		return nil, err
	}
	want, err := ast.ValueFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if got := opaInput(r); got.Compare(want) != 0 {
		return nil, fmt.Errorf("the peer would be asked about %v instead of %v", got, want)
	}
	return eval(q, func() (rego.EvalOption, error) { return rego.EvalParsedInput(opaInput(r)), nil }, allowed, failed), nil
}

// opaWasmPeer is OPA's own SDK for Wasm on the same rules and data, which takes JSON as it is: the text is written by our
// encoder, the fastest way that there is from a typed request. It remembers no verdicts.
func opaWasmPeer(r *policy.Request, allowed bool, failed *error) (func(), error) {
	q, err := prepared(rego.Target("wasm"))
	if err != nil {
		return nil, err
	}
	return eval(q, func() (rego.EvalOption, error) {
		text, err := r.MarshalJSON()
		return rego.EvalInput(text), err
	}, allowed, failed), nil
}

func prepared(more ...func(*rego.Rego)) (rego.PreparedEvalQuery, error) {
	b, err := policy.DefaultBundle(services(6))
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	var data map[string]any
	if err := json.Unmarshal(b.Data, &data); err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	options := append(more, rego.Query("data.secrets.load.decision"), rego.Store(inmem.NewFromObject(data)))
	for name, source := range b.Rego {
		options = append(options, rego.Module(name, string(source)))
	}
	return rego.New(options...).PrepareForEval(context.Background())
}

// eval returns a function that asks q and reads whether the verdict is the expected one.
func eval(q rego.PreparedEvalQuery, input func() (rego.EvalOption, error), allowed bool, failed *error) func() {
	ctx := context.Background()
	return func() {
		in, err := input()
		if err != nil {
			*failed = err
			return
		}
		results, err := q.Eval(ctx, in)
		if err != nil {
			*failed = err
			return
		}
		if len(results) == 1 && len(results[0].Expressions) == 1 {
			if verdict, ok := results[0].Expressions[0].Value.(map[string]any); ok && verdict["allow"] == allowed {
				return
			}
		}
		*failed = fmt.Errorf("the peer's verdict is another: %v", results)
	}
}

// cedarRules say in Cedar what the default rules demand of a file of the service's own.
const cedarRules = `permit (
  principal == Service::"service-0", action == Action::"load_secret", resource == File::"/etc/llorch/secrets/token-0"
) when {
  context.api == "v1" && context.phase == "runtime" && context.facts == "observed" &&
  context.resolved == "/etc/llorch/secrets/token-0" &&
  context.file.type == "regular" && context.file.nlink == 1 &&
  (context.file.owner_is_root || context.file.owner_is_me) &&
  !context.file.writers.everyone && context.file.writers.gids.isEmpty() &&
  [0, context.uid].containsAll(context.file.writers.uids) &&
  context.file.size >= 0 && context.file.size <= 1048576 && !context.file.final_symlink &&
  ["ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlayfs", "squashfs", "erofs", "bcachefs"].contains(context.file.filesystem) &&
  !context.file.acl && context.file.group_bits == 0 && context.file.other_bits == 0
};`

// cedarPeer is cedar-go on a policy that says the same, with its request made before the clock starts.
func cedarPeer(r *policy.Request, failed *error) (func(), error) {
	var rules cedar.Policy
	if err := rules.UnmarshalCedar([]byte(cedarRules)); err != nil {
		return nil, err
	}
	set := cedar.NewPolicySet()
	set.Add("file", &rules)
	req := cedar.Request{
		Principal: cedar.NewEntityUID("Service", cedar.String(r.Subject.Service)),
		Action:    cedar.NewEntityUID("Action", cedar.String(r.Action)),
		Resource:  cedar.NewEntityUID("File", cedar.String(r.Resource.Path)),
		Context:   cedarContext(r),
	}
	return func() {
		if verdict, why := cedar.Authorize(set, cedar.EntityMap{}, req); verdict != cedar.Allow {
			*failed = fmt.Errorf("cedar denies: %v", why)
		}
	}, nil
}

func cedarContext(r *policy.Request) cedar.Record {
	f := &r.Resource.File
	ids := func(ids []int64) cedar.Set {
		var values []cedar.Value
		for _, id := range ids {
			values = append(values, cedar.Long(id))
		}
		return cedar.NewSet(values...)
	}
	return cedar.NewRecord(cedar.RecordMap{
		"api": cedar.String("v1"), "phase": cedar.String(r.Context.Phase), "facts": cedar.String(r.Resource.Facts),
		"uid": cedar.Long(r.Subject.UID), "resolved": cedar.String(r.Resource.Resolved),
		"file": cedar.NewRecord(cedar.RecordMap{
			"type": cedar.String(f.Type), "nlink": cedar.Long(f.NLink), "owner_is_root": cedar.Boolean(f.OwnerIsRoot),
			"owner_is_me": cedar.Boolean(f.OwnerIsMe), "size": cedar.Long(f.Size), "filesystem": cedar.String(f.Filesystem),
			"final_symlink": cedar.Boolean(f.FinalSymlink), "acl": cedar.Boolean(f.ACL),
			"group_bits": cedar.Long(f.Mode >> 3 & 7), "other_bits": cedar.Long(f.Mode & 7),
			"writers": cedar.NewRecord(cedar.RecordMap{
				"uids": ids(f.Writers.UIDs), "gids": ids(f.Writers.GIDs), "everyone": cedar.Boolean(f.Writers.Everyone),
			}),
		}),
	})
}
