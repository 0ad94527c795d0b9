package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
)

// What the questions to a policy take that a security team waits for: the whole process, as for a check.
func questionRatios() []ratio {
	return []ratio{
		{name: "replay_per_s", atLeast: true, limit: 50_000, measure: replaying(func(r costs) float64 { return recordedDecisions / r.seconds })},
		{name: "replay_million_mb", limit: 300, measure: replaying(func(r costs) float64 { return r.megabytes })},
		{name: "policy_diff_10k_s", limit: 10, measure: diffing},
	}
}

// A log of a million decisions, in which 2,000 loads come again and again.
const (
	recordedDecisions = 1_000_000
	distinctDecisions = 2_000
)

// replaying pipes a log into a replay, which it never holds as a whole.
func replaying(of func(costs) float64) func() (float64, error) {
	return func() (value float64, err error) {
		s, err := newSite(distinctDecisions)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
		lines, err := s.decisions()
		if err != nil {
			return 0, err
		}
		cost, err := s.measure(func(w io.Writer) error {
			for n := 0; n < recordedDecisions; n += distinctDecisions {
				if _, err := w.Write(lines); err != nil {
					return err
				}
			}
			return nil
		}, "policy", "replay", "-", s.bundle())
		return of(cost), err
	}
}

// decisions are the lines of one load of each service.
func (s *site) decisions() ([]byte, error) {
	archive, err := os.ReadFile(s.bundle())
	if err != nil {
		return nil, err
	}
	bundle, err := policy.ReadBundle(archive)
	if err != nil {
		return nil, err
	}
	engine, err := policy.Open(context.Background(), bundle, policy.Options{})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	var lines bytes.Buffer
	sink := loader.NewAuditWriter(&lines)
	for i := range distinctDecisions {
		r := credentialRequest(i)
		d, err := engine.Decide(context.Background(), r)
		if err != nil {
			return nil, err
		}
		if !d.Allowed() {
			return nil, fmt.Errorf("denied: %q", d.Codes())
		}
		e := &loader.Entry{DecisionID: fmt.Sprint(i), Timestamp: time.Unix(0, 0).UTC(), Path: policy.EntrypointDecision, Input: r, Result: &d}
		if err := sink.Record(context.Background(), e); err != nil {
			return nil, err
		}
	}
	return lines.Bytes(), nil
}

// credentialRequest is what a service of the site asks at run time.
func credentialRequest(i int) *policy.Request {
	dir := fmt.Sprintf("/run/credentials/svc-%d.service", i)
	return &policy.Request{
		Subject: policy.Subject{Service: fmt.Sprintf("svc-%d", i), UID: 1001, GID: 1001, Attested: policy.Attested{UID: "getuid", GID: "getgid"}},
		Action:  policy.LoadSecret,
		Resource: policy.Resource{
			Source: policy.SourceCredential, Name: "api_token", Path: dir + "/api_token", Resolved: dir + "/api_token",
			Above: []string{dir, "/run/credentials", "/run", "/"}, Facts: policy.FactsObserved,
			File: policy.File{
				Type: "regular", Mode: 0o400, UID: 1001, OwnerIsMe: true, Size: 65, NLink: 1, Filesystem: "ramfs",
				Readers: policy.Principals{UIDs: []int64{1001}}, Writers: policy.Principals{UIDs: []int64{0, 1001}},
			},
		},
		Context: policy.Context{Phase: policy.PhaseRuntime, Memory: policy.MemoryLocked},
	}
}

// measure runs the program once, with what write gives it on its standard input. The exit code must be that of an answer.
func (s *site) measure(write func(io.Writer) error, args ...string) (c costs, err error) {
	cmd := exec.CommandContext(context.Background(), s.program, args...) //nolint:gosec // G204: just built
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return c, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return c, err
	}
	buffered := bufio.NewWriterSize(in, 1<<20)
	werr := errors.Join(write(buffered), buffered.Flush(), in.Close())
	err = cmd.Wait()
	took := time.Since(begin).Seconds()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 3) {
		err = nil
	}
	if err = errors.Join(err, werr); err != nil {
		return c, fmt.Errorf("%s: %w\n%.2000s", strings.Join(args[:2], " "), err, out.Bytes())
	}
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return c, errors.New("no resource usage")
	}
	return costs{took, float64(used.Maxrss) / 1024}, nil
}

// diffing compares two policies over an inventory of 10,000 services with five loads each, of which the second grants a part
// to others than the first.
func diffing() (value float64, err error) {
	const services, loads = 10_000, 5
	s, err := newSite(1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	old, next := filepath.Join(s.dir, "old"), filepath.Join(s.dir, "new")
	if err := errors.Join(writeGrants(old, services, loads, 0), writeGrants(next, services, loads, 10)); err != nil {
		return 0, err
	}
	inventories, err := writeInventories(s.dir, services, loads)
	if err != nil {
		return 0, err
	}
	cost, err := s.measure(func(io.Writer) error { return nil }, "policy", "diff", old, next, inventories)
	return cost.seconds, err
}

// writeGrants lets each service load its secrets. Of every so many services, 0 being none, one gets one less.
func writeGrants(dir string, services, loads, every int) error {
	list := make([]string, services)
	for i := range list {
		n := loads
		if every > 0 && i%every == 0 {
			n--
		}
		names := make([]string, n)
		for k := range names {
			names[k] = fmt.Sprintf(`"token_%d"`, k)
		}
		list[i] = fmt.Sprintf(`"svc-%[1]d":[{"id":"g","actions":["load_secret"],"source":"credential","names":[%[2]s],"dirs":["/etc/llorch/svc-%[1]d"]}]`,
			i, strings.Join(names, ","))
	}
	data := `{"secrets":{"services":{` + strings.Join(list, ",") + `}}}`
	return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "data.json"), []byte(data), 0o600))
}

// writeInventories lists the loads, in files of 500 services: a descriptor has at most 1 MiB.
func writeInventories(dir string, services, loads int) (string, error) {
	dir = filepath.Join(dir, "inventories")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	for from := 0; from < services; from += 500 {
		var b bytes.Buffer
		b.WriteString("services:\n")
		for i := from; i < from+500; i++ {
			fmt.Fprintf(&b, "  - service: svc-%d\n    uid: 1001\n    loads:\n", i)
			for k := range loads {
				fmt.Fprintf(&b, "      - {action: load_secret, source: credential, name: token_%d}\n", k)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", from)), b.Bytes(), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}
