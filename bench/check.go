package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What a release engineer waits for: the whole process, over units like those that people write, by a bundle of the default
// rules that grants what they load.
func checkRatios() []ratio {
	return []ratio{
		{name: "check_cold_ms", limit: 60, measure: checking(1, 20, func(r costs) float64 { return r.seconds * 1000 })},
		{name: "check_10k_s", limit: 5, measure: checking(10_000, 1, func(r costs) float64 { return r.seconds })},
		{name: "check_10k_mb", limit: 300, measure: checking(10_000, 1, func(r costs) float64 { return r.megabytes })},
		{name: "check_linear", limit: 1.2, measure: checkLinear},
	}
}

// costs is what one check took.
type costs struct{ seconds, megabytes float64 }

// checking measures checks of n units, the fastest of some.
func checking(n, times int, of func(costs) float64) func() (float64, error) {
	return func() (value float64, err error) {
		s, err := newSite(n)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
		best, err := s.fastest(times)
		return of(best), err
	}
}

// checkLinear compares what a unit of 10,000 takes with what one of 1,000 does, each without what the check of one takes.
func checkLinear() (value float64, err error) {
	var took [3]float64
	sizes := [3]int{1, 1_000, 10_000}
	for i, n := range sizes {
		s, err := newSite(n)
		if err != nil {
			return 0, err
		}
		best, err := s.fastest(3)
		if err = errors.Join(err, os.RemoveAll(s.dir)); err != nil {
			return 0, err
		}
		took[i] = best.seconds
	}
	per := func(i int) float64 { return (took[i] - took[0]) / float64(sizes[i]-1) }
	return per(2) / per(1), nil
}

// site is a folder of units, the bundle that grants what they load, and the program.
type site struct{ dir, program string }

const unit = `[Unit]
Description=Service %[1]d of many
After=network-online.target

[Service]
# Both are files of root's. \
User=svc
LoadCredential=api_token:/etc/llorch/secrets/svc-%[1]d/api-token
LoadCredential=seal_key:/etc/llorch/secrets/svc-%[1]d/seal-key
Environment=LOG_LEVEL=info "GREETING=hello world"
ExecStart=/usr/bin/svc --listen 127.0.0.1:%[1]d
MemoryDenyWriteExecute=no

[Install]
WantedBy=multi-user.target
`

func newSite(n int) (*site, error) {
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, program: filepath.Join(dir, "secretcheck")}
	module, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/llorch/secrets-management").Output()
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return s.fill(n) },
		func() error {
			return s.do("go", "-C", strings.TrimSpace(string(module)), "build", "-o", s.program, "./cmd/secretcheck")
		},
		func() error {
			return s.do(s.program, "policy", "build", filepath.Join(dir, "policy"), "-o", s.bundle())
		},
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	return s, nil
}

func (s *site) bundle() string { return filepath.Join(s.dir, "policy.tar.gz") }

func (s *site) fill(n int) error {
	units, rules := filepath.Join(s.dir, "units"), filepath.Join(s.dir, "policy")
	if err := errors.Join(os.Mkdir(units, 0o700), os.Mkdir(rules, 0o700)); err != nil {
		return err
	}
	grants := make([]string, n)
	for i := range n {
		name := filepath.Join(units, fmt.Sprintf("svc-%d.service", i))
		if err := os.WriteFile(name, fmt.Appendf(nil, unit, i), 0o600); err != nil {
			return err
		}
		grants[i] = fmt.Sprintf(`"svc-%[1]d":[{"id":"g","actions":["load_secret"],"source":"credential",`+
			`"names":["api_token","seal_key"],"dirs":["/etc/llorch/secrets/svc-%[1]d"]}]`, i)
	}
	data := `{"secrets":{"services":{` + strings.Join(grants, ",") + `}}}`
	return os.WriteFile(filepath.Join(rules, "data.json"), []byte(data), 0o600)
}

func (s *site) do(name string, args ...string) error {
	out, err := exec.CommandContext(context.Background(), name, args...).CombinedOutput() //nolint:gosec // G204: ours
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// fastest checks so often.
func (s *site) fastest(times int) (best costs, err error) {
	for i := range times {
		cmd := exec.CommandContext(context.Background(), s.program, "check", filepath.Join(s.dir, "units"), "--policy", s.bundle()) //nolint:gosec // G204: just built
		begin := time.Now()
		out, err := cmd.Output()
		took := time.Since(begin).Seconds()
		if err != nil {
			return best, fmt.Errorf("check: %w\n%.2000s", err, out)
		}
		used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return best, errors.New("no resource usage")
		}
		if i == 0 || took < best.seconds {
			best = costs{took, float64(used.Maxrss) / 1024}
		}
	}
	return best, nil
}
