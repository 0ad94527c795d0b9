package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

// benching is what policy bench was asked to do.
type benching struct {
	policy  string
	rounds  int
	maxFuel int64
	out     outputs
}

func newPolicyBench() *cobra.Command {
	var b benching
	cmd := &cobra.Command{
		Use:   "bench --policy DIR|FILE [REQUESTS]",
		Short: "measure what decisions cost, over recorded requests",
		Example: `  secretcheck policy bench --policy policy/ audit.jsonl
  secretcheck policy bench --policy policy/ --max-fuel 1000000`,
		Long: `Put recorded requests to a policy as a service does, without remembering any, and
tell time and fuel of a decision. REQUESTS are audit logs, OPA's decision logs, or
inputs, one a line; without any, the policy's own smoke.json. Fuel is about one
unit an instruction and the same on every machine; time is not.

exit codes, of several the first: 5 policy error, 4 bad usage or no request,
1 a decision takes more than --max-fuel, 0 measured`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := b.valid(); err != nil {
				return err
			}
			return b.do(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&b.policy, "policy", "", "measure the policy in `DIR|FILE`: rules and grants, or a bundle")
	flags.IntVar(&b.rounds, "rounds", 10, "put every request `N` times")
	flags.Int64Var(&b.maxFuel, "max-fuel", 0, "exit with 1 when a decision takes more than `N` units")
	b.out.register(flags, formatNames)
	return cmd
}

func (b *benching) valid() error {
	switch {
	case b.policy == "":
		return noPolicy()
	case b.rounds < 1 || b.rounds > 100_000:
		return usage("--rounds takes 1 to 100000", "rounds: %d is not between 1 and 100000", b.rounds)
	case b.maxFuel < 0:
		return usage("--max-fuel takes a number from 0", "max-fuel: %d is below 0", b.maxFuel)
	}
	return b.out.valid()
}

// maxRequests bounds what is kept in memory; the first of a log are as good as the last.
const maxRequests = 10_000

func (b *benching) do(cmd *cobra.Command, files []string) error {
	bundle, err := loadPolicy(cmd.Context(), b.policy)
	if err != nil {
		return err
	}
	r := &benchReport{SchemaVersion: 1, Policy: b.policy}
	requests, err := b.requests(files, bundle, r)
	if err != nil {
		return err
	}
	if len(requests) == 0 {
		return usage("name an audit log, or put cases into smoke.json", "bench: no request in %d files, %d entries could not be taken", len(files), r.Left)
	}
	if err := b.measure(cmd.Context(), bundle, requests, r); err != nil {
		return err
	}
	err = b.out.writeEither(cmd.OutOrStdout(), r, r.pretty)
	if err == nil && b.maxFuel > 0 && r.Fuel.Max > b.maxFuel {
		return &failure{exitDenied, fmt.Errorf("a decision takes %d units of fuel, more than %d", r.Fuel.Max, b.maxFuel), "simpler rules or fewer grants; secretcheck policy check names what is slow"}
	}
	return err
}

// requests are those in the files, or those of the policy's smoke.json.
func (b *benching) requests(files []string, bundle *policy.Bundle, r *benchReport) ([]*policy.Request, error) {
	var requests []*policy.Request
	take := func(input json.RawMessage) {
		request, err := recorded.Request(input)
		if err != nil || len(requests) == maxRequests {
			r.Left++
			return
		}
		requests = append(requests, request)
	}
	if len(files) == 0 {
		for _, c := range smokeCases(bundle) {
			take(c.Input)
		}
		return requests, nil
	}
	for _, name := range files {
		if err := eachInput(name, r, take); err != nil {
			return nil, usage("name a file with recorded decisions or inputs that can be read", "requests: %w", short(err))
		}
	}
	return requests, nil
}

// eachInput finds the inputs in a log, or in a file of nothing but inputs.
func eachInput(name string, r *benchReport, take func(json.RawMessage)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	err = recorded.Lines(f, func(l recorded.Line) error {
		e, kind, _, _ := recorded.Parse(l.Text)
		switch {
		case l.TooLong:
			r.Left++
		case kind == recorded.Judged && e.Path == policy.EntrypointDecision:
			take(e.Input)
		case bytes.HasPrefix(bytes.TrimSpace(l.Text), []byte("{")) && e.ID == "" && e.Path == "" && e.Outcome == "":
			take(l.Text)
		case kind == recorded.Unclear:
			r.Left++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// benchReport is the JSON form, an interface.
type benchReport struct {
	SchemaVersion int       `json:"schema_version"`
	Policy        string    `json:"policy"`
	Digest        string    `json:"digest"`
	Engine        string    `json:"engine"` // "compiler" or "interpreter"
	Requests      int       `json:"requests"`
	Left          int       `json:"left_out"` // entries that are no request of the contract
	Decisions     int       `json:"decisions"`
	Micros        quantiles `json:"us"`
	Fuel          quantiles `json:"fuel"`
	Costliest     costliest `json:"costliest"`
}

type quantiles struct {
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`
}

// costliest is the request that took the most fuel.
type costliest struct {
	Service string        `json:"service"`
	Action  policy.Action `json:"action"`
	Source  policy.Source `json:"source"`
	Path    string        `json:"path"`
	Name    string        `json:"name"`
	Fuel    int64         `json:"fuel"`
}

func (b *benching) measure(ctx context.Context, bundle *policy.Bundle, requests []*policy.Request, r *benchReport) error {
	engine, err := policy.Open(ctx, bundle, policy.Options{NoMemo: true, Limits: patient()})
	if err != nil {
		return unusable(b.policy, err)
	}
	defer engine.Close() //nolint:contextcheck // closing waits for guests that are bounded themselves
	r.Digest, r.Engine, r.Requests = engine.Info().Digest, engine.Info().Engine, len(requests)
	var times, fuel []int64
	for round := range b.rounds + 1 { // the first is not counted: it makes instances
		for _, request := range requests {
			cost, err := engine.Worst(ctx, request)
			switch {
			case errors.Is(err, context.Canceled):
				return err
			case err != nil:
				return &failure{exitPolicy, fmt.Errorf("policy: %s: service %q, %s: %w", b.policy, request.Subject.Service, request.Action, err), "the policy has no answer to this request: try it with secretcheck policy explain"}
			case round == 0:
				continue
			}
			times, fuel = append(times, cost.Time.Nanoseconds()), append(fuel, cost.Fuel)
			if cost.Fuel > r.Costliest.Fuel {
				s := &request.Resource
				r.Costliest = costliest{request.Subject.Service, request.Action, s.Source, s.Path, s.Name, cost.Fuel}
			}
		}
	}
	r.Decisions, r.Micros, r.Fuel = len(times), quantilesOf(times), quantilesOf(fuel)
	for _, v := range []*int64{&r.Micros.P50, &r.Micros.P99, &r.Micros.Max} {
		*v = (*v + int64(time.Microsecond) - 1) / int64(time.Microsecond) // never 0
	}
	return nil
}

// quantilesOf sorts what it gets, and picks the value that so many are not above.
func quantilesOf(values []int64) quantiles {
	slices.Sort(values)
	at := func(percent int) int64 { return values[(len(values)*percent+99)/100-1] }
	return quantiles{at(50), at(99), values[len(values)-1]}
}

func (r *benchReport) pretty(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d decisions on %d requests by the %s, none remembered\n", r.Decisions, r.Requests, r.Engine)
	fmt.Fprintf(&b, "         %10s %10s %10s\n", "p50", "p99", "max")
	fmt.Fprintf(&b, "us       %10d %10d %10d\n", r.Micros.P50, r.Micros.P99, r.Micros.Max)
	fmt.Fprintf(&b, "fuel     %10d %10d %10d\n", r.Fuel.P50, r.Fuel.P99, r.Fuel.Max)
	c := r.Costliest
	fmt.Fprintf(&b, "costliest: service %s, %s from %s %s\n", report.Text(c.Service), report.Text(string(c.Action)), report.Text(string(c.Source)), report.Text(c.Path+c.Name))
	if r.Left > 0 {
		fmt.Fprintf(&b, "left out: %d entries that are no request of the contract, or beyond the first %d\n", r.Left, maxRequests)
	}
	_, err := w.Write(b.Bytes())
	return err
}
