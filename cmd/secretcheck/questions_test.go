//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// recordDecisions LOG DATA.json SERVICE:ACTION:PATH:MODE... judges loads of files by the default rules over the grants, and
// appends them to an audit log as a service does: what may not be asked for without its facts, and an allow with its
// outcome.
func recordDecisions(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: record LOG DATA.json SERVICE:ACTION:PATH:MODE...")
	}
	engine, err := policy.Default([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	defer engine.Close()
	log, err := loader.OpenAuditFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for i, spec := range args[2:] {
		for _, e := range entriesOf(ts, engine, spec) {
			e.DecisionID, e.Timestamp = fmt.Sprintf("decision-%d", i+1), time.Unix(int64(i), 0).UTC()
			ts.Check(log.Record(context.Background(), e))
		}
	}
	ts.Check(log.Close())
}

func entriesOf(ts *testscript.TestScript, engine *policy.Engine, spec string) []*loader.Entry {
	r := requestOf(ts, spec)
	d, err := engine.Ask(context.Background(), r)
	ts.Check(err)
	if !d.Allowed() {
		r.Resource.Resolved, r.Resource.Above, r.Resource.File = "", nil, policy.File{}
		return []*loader.Entry{{Path: policy.EntrypointMayAsk, Input: r, Result: &d, Error: "denied"}}
	}
	d, err = engine.Decide(context.Background(), r)
	ts.Check(err)
	e := []*loader.Entry{{Path: policy.EntrypointDecision, Input: r, Result: &d}}
	if !d.Allowed() {
		e[0].Error = "denied"
		return e
	}
	return append(e, &loader.Entry{Path: policy.EntrypointDecision, Outcome: "loaded"})
}

// requestOf is the load of a file of the service's own, who is uid 1001.
func requestOf(ts *testscript.TestScript, spec string) *policy.Request {
	part := strings.Split(spec, ":")
	if len(part) != 4 {
		ts.Fatalf("%q is not SERVICE:ACTION:PATH:MODE", spec)
	}
	mode, err := strconv.ParseUint(part[3], 8, 12)
	ts.Check(err)
	r := &policy.Request{
		Subject: policy.Subject{Service: part[0], UID: 1001, GID: 1001, Attested: policy.Attested{UID: "getuid", GID: "getgid"}},
		Action:  policy.Action(part[1]),
		Resource: policy.Resource{
			Source: policy.SourceFile, Path: part[2], Resolved: part[2], Above: []string{path.Dir(part[2])}, Facts: policy.FactsObserved,
			File: policy.File{
				Type: "regular", Mode: uint32(mode), UID: 1001, GID: 990, OwnerIsMe: true, Size: 65, NLink: 1, Filesystem: "ext4",
				Readers: policy.Principals{UIDs: []int64{1001}, Everyone: mode&4 != 0}, Writers: policy.Principals{UIDs: []int64{0, 1001}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Host: "h1", Memory: policy.MemoryLocked},
	}
	if mode&0o40 != 0 {
		r.Resource.File.Readers.GIDs = []int64{990}
	}
	return r
}

// requestFile FILE SERVICE:ACTION:PATH:MODE writes the input of such a load.
func requestFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: request FILE SERVICE:ACTION:PATH:MODE")
	}
	text, err := requestOf(ts, args[1]).MarshalJSON()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// chomp FILE takes the line feed at the end of a file away, which a txtar cannot do without.
func chomp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: chomp FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.TrimSuffix(ts.ReadFile(args[0]), "\n")), 0o600))
}

// forge BUNDLE [DATA] changes the Rego of a bundle, and leaves what was compiled from it; or gives it other data.
func forge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: forge BUNDLE [DATA]")
	}
	b, err := policy.ReadBundle([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	if len(args) == 2 {
		b.Data = []byte(args[1])
		raw, err := b.Marshal()
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
		return
	}
	const file = "default/load.rego"
	changed := strings.Replace(string(b.Rego[file]), "file.nlink == 1", "file.nlink == 2", 1)
	if changed == string(b.Rego[file]) {
		ts.Fatalf("nothing to change in %s", file)
	}
	b.Rego[file] = []byte(strings.Replace(changed, `default may_ask := false`, `default may_ask := true`, 1))
	raw, err := b.Marshal()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
}
