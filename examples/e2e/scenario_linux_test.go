package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llorch/secrets-management/internal/realsystemd"
)

// What the scenario leaves for the test.
const (
	report  = "checks"
	journal = "journal"
)

// check is something that was tried.
type check struct {
	Name, Error string
	Took        time.Duration
}

// impostor is the unit of somebody who runs the program of a service with its account and its credentials.
func impostor(name string) string { return "impostor-" + name + ".service" }

// at is where the services listen.
var at = map[string]string{
	"queen-rbee": "http://127.0.0.1:9100", "pool-managerd": "http://127.0.0.1:9200",
	"worker-orcd": "http://127.0.0.1:9300", "vram-residency": "http://127.0.0.1:9400",
}

// owner is whose token lets clients in.
var owner = map[string]string{"queen-rbee": "api-token", "pool-managerd": "pool-token", "worker-orcd": "worker-token", "vram-residency": "vram-token"}

// play is a scenario that goes on.
type play struct {
	tokens map[string]string // by their files
	done   []check
}

// try makes a check. One that fails does not end the scenario, so that a run tells of everything.
func (p *play) try(name string, f func() error) {
	c, begin := check{Name: name}, time.Now()
	if err := f(); err != nil {
		c.Error = err.Error()
	}
	c.Took = time.Since(begin)
	p.done = append(p.done, c)
}

// scenario runs in the machine, as root.
func scenario() error {
	p := &play{tokens: map[string]string{}}
	for _, name := range tokens {
		b, err := os.ReadFile("/etc/llorch/secrets/" + name)
		if err != nil {
			return err
		}
		p.tokens[name] = strings.TrimSpace(string(b))
	}
	p.fromCredentials()
	p.fromFiles()
	if os.Getenv(inside) == everything {
		p.refusals()
		p.migration()
		p.listening()
	}
	p.try("SVC-7016 nothing in the journal and the audit logs", p.searchLogs)
	log, err := exec.Command("journalctl", "-o", "short-monotonic", "--no-pager").CombinedOutput()
	if err != nil {
		return err
	}
	checks, err := json.Marshal(p.done)
	return errors.Join(err, os.WriteFile(filepath.Join(realsystemd.Out, journal), log, 0o644), os.WriteFile(filepath.Join(realsystemd.Out, report), checks, 0o644))
}

// steps is how many checks there are, with and without those that stay the same whatever the version of systemd is.
var steps = map[string]int{everything: 50, acceptance: 27}

func (p *play) fromCredentials() {
	p.try("EXP-ACCEPT-10002 all start from credentials", func() error {
		return errors.Join(prepare("Restart=on-failure\nRestartSec=100ms\n"), start())
	})
	p.accept("credentials")
	p.try("SVC-7011 wrong tokens are refused", p.wrongTokens)
	p.try("SVC-7012 a token does what it is for and no more", p.otherTokens)
	p.try("SVC-7002 health needs no token, and nothing else has none", p.health)
	p.seals()
	p.try("SVC-7013 the pool is killed, and the worker registers again", func() error { return p.killed("pool-managerd") })
	p.try("SVC-7013 the worker is killed, and registers again", func() error { return p.killed("worker-orcd") })
	p.try("SVC-7016 nothing in /proc", p.searchProc)
}

// accept is what has to work however the tokens came.
func (p *play) accept(from string) {
	p.try("EXP-ACCEPT-10002 the worker registers, and the queen hears of it from the pool: "+from, func() error {
		return p.eventually("queen-rbee", "api-token", "/v2/nodes", `"id":"`+hostname()+`"`)
	})
	p.try("EXP-ACCEPT-10002 the pool registers at the queen: "+from, func() error {
		return p.eventually("queen-rbee", "api-token", "/v2/pools", `"id":"pool-1"`)
	})
	p.try("EXP-ACCEPT-10002 a shard is sealed and checked: "+from, func() error {
		_, err := p.sealed()
		return err
	})
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return err.Error()
	}
	return name
}

// prepare gives all units, those of the impostors too, lines that the scenario needs. What changes from start to start is a file
// of variables, so that systemd has to read its units only once for each kind of source.
func prepare(lines string) (failed error) {
	for name := range services {
		for _, unit := range []string{name + ".service", impostor(name)} {
			dir := "/run/systemd/system/" + unit + ".d"
			text := "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\nEnvironment=LLORCH_INTERVAL=0.2\nTimeoutStartSec=60\n" +
				"EnvironmentFile=-" + variables(unit) + "\n" + lines
			failed = errors.Join(failed, os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/scenario.conf", []byte(text), 0o644))
		}
	}
	return errors.Join(failed, systemctl("daemon-reload"))
}

func variables(unit string) string { return "/run/machine/" + unit + ".env" }

// start starts all services, which are ready when they say so.
func start() error {
	args := []string{"restart"}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		args = append(args, name+".service")
	}
	return systemctl(args...)
}

// startOne starts a unit with some variables.
func startOne(unit string, set ...string) error {
	if err := os.WriteFile(variables(unit), []byte(strings.Join(set, "\n")), 0o600); err != nil {
		return err
	}
	return systemctl("restart", unit)
}

func systemctl(args ...string) error {
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// send asks a service.
func send(method, url, body string, authorization ...string) (status int, answer string, err error) {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if len(authorization) > 0 {
		r.Header["Authorization"] = authorization
	}
	client := http.Client{Timeout: patience}
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// want asks, and reports an answer with another status.
func want(status int, method, url, body string, authorization ...string) error {
	got, answer, err := send(method, url, body, authorization...)
	if err == nil && got != status {
		err = fmt.Errorf("%s %s: %d, want %d: %s", method, url, got, status, answer)
	}
	return err
}

func (p *play) bearer(token string) string { return "Bearer " + p.tokens[token] }

const patience = 30 * time.Second // for a machine that does much else

// eventually asks until the answer has a text.
func (p *play) eventually(service, token, path, text string) (err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var status int
		var answer string
		if status, answer, err = send(http.MethodGet, at[service]+path, "", p.bearer(token)); err == nil {
			if status == http.StatusOK && strings.Contains(answer, text) {
				return nil
			}
			err = fmt.Errorf("%s%s: %d %s, without %s", service, path, status, answer, text)
		}
	}
	return err
}

func (p *play) wrongTokens() (failed error) {
	for name, url := range at {
		own := p.tokens[owner[name]]
		for _, wrong := range []string{"Bearer fake-wrong-token", "Bearer " + own[:63], "Bearer " + own + "0", "Basic " + own, own} {
			failed = errors.Join(failed, want(http.StatusUnauthorized, http.MethodGet, url+"/v2/nodes", "", wrong))
		}
		failed = errors.Join(failed, want(http.StatusUnauthorized, http.MethodGet, url+"/v2/nodes", ""),
			want(http.StatusBadRequest, http.MethodGet, url+"/v2/nodes", "", "Bearer "+own, "Bearer "+own))
	}
	return failed
}

func (p *play) otherTokens() (failed error) {
	node := `{"id":"evil","address":"192.0.2.1:1"}`
	pool, queen := at["pool-managerd"], at["queen-rbee"]
	return errors.Join(
		want(http.StatusForbidden, http.MethodPost, pool+"/v2/nodes/register", node, p.bearer("api-token")),
		want(http.StatusForbidden, http.MethodPost, pool+"/v2/nodes/register", node, p.bearer("pool-token")),
		want(http.StatusForbidden, http.MethodGet, pool+"/v2/nodes", "", p.bearer("worker-token")),
		want(http.StatusForbidden, http.MethodPost, queen+"/v2/pools/register", node, p.bearer("api-token")),
		want(http.StatusUnauthorized, http.MethodGet, queen+"/v2/nodes", "", p.bearer("worker-token")),
		want(http.StatusUnauthorized, http.MethodPost, at["vram-residency"]+"/v2/shards/seal", "{}", p.bearer("worker-token")),
		want(http.StatusBadRequest, http.MethodPost, pool+"/v2/nodes/register", `{"id":"a","address":"b","more":1}`, p.bearer("worker-token")),
		want(http.StatusBadRequest, http.MethodPost, pool+"/v2/nodes/register", node+node, p.bearer("worker-token")),
		want(http.StatusBadRequest, http.MethodPost, pool+"/v2/nodes/register", `{"id":"","address":"b"}`, p.bearer("worker-token")))
}

func (p *play) health() (failed error) {
	for name, url := range at {
		failed = errors.Join(failed, want(http.StatusOK, http.MethodGet, url+"/health", ""),
			want(http.StatusUnauthorized, http.MethodPost, url+"/health", ""), want(http.StatusNotFound, http.MethodGet, url+"/no", "", p.bearer(owner[name])))
		for _, path := range []string{"/health/", "//health", "/health%2f", "/HEALTH", "/x/../health"} {
			failed = errors.Join(failed, want(http.StatusUnauthorized, http.MethodGet, url+path, ""))
		}
	}
	return failed
}

// sealed has a shard sealed and checked.
func (p *play) sealed() (shard string, err error) {
	url := at["vram-residency"]
	status, shard, err := send(http.MethodPost, url+"/v2/shards/seal", `{"shard_id":"shard-7","digest":"sha256:9f86d081","gpu_device":0}`, p.bearer("vram-token"))
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("sealing: %d %s: %w", status, shard, err)
	}
	return shard, want(http.StatusOK, http.MethodPost, url+"/v2/shards/check", shard, p.bearer("vram-token"))
}

func (p *play) seals() {
	url := at["vram-residency"]
	shard, err := p.sealed()
	p.try("SVC-7014 a shard is sealed", func() error { return err })
	var fields map[string]any
	p.try("SVC-7014 a seal has the documented fields", func() error {
		if err := json.Unmarshal([]byte(shard), &fields); err != nil || len(fields) != 5 {
			return fmt.Errorf("%w: %s", err, shard)
		}
		return nil
	})
	seal, _ := fields["seal"].(string)
	for name, change := range map[string]any{
		"shard_id": "shard-8", "digest": "sha256:9f86d082", "sealed_at_unix": 1764000000, "gpu_device": 1,
		"seal": strings.Repeat("0", 64), "seal in capitals": strings.ToUpper(seal), "seal cut off": seal[:min(len(seal), 62)],
	} {
		p.try("SVC-7014 tampering is found: "+name, func() error {
			tampered := maps.Clone(fields)
			field, _, _ := strings.Cut(name, " ")
			if tampered == nil || tampered[field] == nil || tampered[field] == change {
				return fmt.Errorf("%s is not changed", field)
			}
			tampered[field] = change
			body, err := json.Marshal(tampered)
			return errors.Join(err, want(http.StatusConflict, http.MethodPost, url+"/v2/shards/check", string(body), p.bearer("vram-token")))
		})
	}
	for _, body := range []string{`{"shard_id":"a|b","digest":"c"}`, `{"shard_id":"a","digest":"b|c"}`} {
		p.try("SVC-7014 a field with the separator is refused: "+body, func() error {
			return want(http.StatusBadRequest, http.MethodPost, url+"/v2/shards/seal", body, p.bearer("vram-token"))
		})
	}
	p.try("SVC-7014 a seal outlives a killed process", func() error {
		if err := kill("vram-residency"); err != nil {
			return err
		}
		return want(http.StatusOK, http.MethodPost, url+"/v2/shards/check", shard, p.bearer("vram-token"))
	})
}

// property is what systemctl show says.
func property(unit, name string) string {
	out, err := exec.Command("systemctl", "show", "-P", name, unit).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// kill ends a service as nothing can prepare for, and waits until systemd has started it again and it answers.
func kill(name string) (err error) {
	unit := name + ".service"
	before := property(unit, "MainPID")
	if err := systemctl("kill", "-s", "KILL", unit); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		pid := property(unit, "MainPID")
		if pid == before || pid == "0" {
			err = fmt.Errorf("%s was not started again", name)
			continue
		}
		if err = want(http.StatusOK, http.MethodGet, at[name]+"/health", ""); err == nil {
			return nil
		}
	}
	return err
}

// killed: the registry of a new pool is empty, so that who is in it has registered again.
func (p *play) killed(name string) error {
	if err := kill(name); err != nil {
		return err
	}
	return errors.Join(p.eventually("pool-managerd", "pool-token", "/v2/nodes", `"id":"`+hostname()+`"`),
		p.eventually("queen-rbee", "api-token", "/v2/nodes", `"id":"`+hostname()+`"`))
}
