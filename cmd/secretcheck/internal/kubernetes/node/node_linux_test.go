package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/kubernetes"
	"github.com/llorch/secrets-management/internal/kubelet"
	"github.com/llorch/secrets-management/internal/mountns"
	"github.com/llorch/secrets-management/internal/probe"
	"github.com/llorch/secrets-management/policy"
)

const content = "fake-token-0123456789"

// modes are those of the files in the volume.
var modes = []fs.FileMode{0o644, 0o444, 0o440, 0o400, 0o600, 0o640, 0o660, 0o666, 0o604, 0o622, 0o602, 0o000}

// setup is a pod: who runs in it, and its group for files.
type setup struct {
	uid     int
	fsGroup *int
}

func (s setup) String() string {
	if s.fsGroup == nil {
		return fmt.Sprintf("uid %d", s.uid)
	}
	return fmt.Sprintf("uid %d, fsGroup %d", s.uid, *s.fsGroup)
}

func setups() (all []setup) {
	for _, uid := range []int{0, 10001} {
		all = append(all, setup{uid: uid})
		for _, group := range []int{3000, 0} {
			all = append(all, setup{uid, &group})
		}
	}
	return all
}

// manifest is the pod as it is deployed. The kubelet opens tokens to nobody but the user, where it knows one.
func (s setup) manifest() string {
	var items, singles strings.Builder
	for _, m := range modes {
		fmt.Fprintf(&items, "      - {key: k, path: m%04o, mode: 0%o}\n      - {key: k, path: d/m%04o, mode: %d}\n", m, m, m, m)
		fmt.Fprintf(&singles, "    - {name: secrets, mountPath: /mnt/app/m%04o, subPath: m%04o}\n", m, m)
	}
	group := ""
	if s.fsGroup != nil {
		group = fmt.Sprintf(", fsGroup: %d", *s.fsGroup)
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: prod}
spec:
  automountServiceAccountToken: false
  securityContext: {runAsUser: %d, runAsGroup: %d, supplementalGroupsPolicy: Strict%s}
  containers:
  - name: app
    image: app
    volumeMounts:
    - {name: secrets, mountPath: /run/secrets/app, readOnly: true}
    - {name: tokens, mountPath: /run/secrets/tokens}
    - {name: all, mountPath: /run/secrets/all}
    - {name: secrets, mountPath: /mnt/folder, subPath: d}
    - {name: all, mountPath: /mnt/one, subPath: key}
%s  volumes:
  - name: secrets
    secret:
      secretName: s
      items:
%s  - name: tokens
    projected:
      defaultMode: 0440
      sources:
      - serviceAccountToken: {path: token}
      - secret: {name: s, items: [{key: k, path: from-secret}]}
  - name: all
    secret: {secretName: all}
`, s.uid, s.uid, group, singles.String(), items.String())
}

// build makes the same pod's volumes, as the kubelet does.
func (s setup) build(t *testing.T) {
	t.Helper()
	secrets := kubelet.Volume{Dir: "/run/kubelet/secrets", FSGroup: s.fsGroup}
	tokens := kubelet.Volume{Dir: "/run/kubelet/tokens", FSGroup: s.fsGroup}
	all := kubelet.Volume{Dir: "/run/kubelet/all", FSGroup: s.fsGroup}
	var files []kubelet.File
	for _, m := range modes {
		files = append(files, kubelet.File{Name: fmt.Sprintf("m%04o", m), Text: content, Mode: m},
			kubelet.File{Name: fmt.Sprintf("d/m%04o", m), Text: content, Mode: m})
	}
	for _, err := range []error{
		secrets.Mount(), secrets.Write(files...), kubelet.Bind(secrets.Dir, "/run/secrets/app", true),
		tokens.Mount(), tokens.Write(
			kubelet.File{Name: "token", Text: content, Mode: 0o600, Owner: s.uid},
			kubelet.File{Name: "from-secret", Text: content, Mode: 0o440}), kubelet.Bind(tokens.Dir, "/run/secrets/tokens", true),
		all.Mount(), all.Write(kubelet.File{Name: "key", Text: content, Mode: 0o644}), kubelet.Bind(all.Dir, "/run/secrets/all", true),
		secrets.SubPath("d", "/mnt/folder"), all.SubPath("key", "/mnt/one"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range modes {
		name := fmt.Sprintf("m%04o", m)
		if err := secrets.SubPath(name, "/mnt/app/"+name); err != nil {
			t.Fatal(err)
		}
	}
}

// clean takes the mounts of the last pod away.
func clean(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(mounts)), "\n")
	slices.Reverse(lines)
	for _, l := range lines {
		if place := strings.Fields(l)[1]; strings.HasPrefix(place, "/run/secrets/") || strings.HasPrefix(place, "/run/kubelet/") || strings.HasPrefix(place, "/mnt/") {
			if err := unix.Unmount(place, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) { // one of the machine's, hidden
				t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"/run/secrets", "/run/kubelet", "/mnt/app", "/mnt/folder", "/mnt/one"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// relaxations are what grants allow besides; the last is not enough for any.
var relaxations = []string{
	``,
	`"symlink":true`,
	`"world_read":true`,
	`"symlink":true,"world_read":true`,
	`"symlink":true,"group_read":3000`,
	`"symlink":true,"owner":10001`,
}

// outcome is what became of a load, or will.
type outcome struct {
	Path    string
	Loaded  bool
	Reasons []string
}

// TestVerdictsAreThoseOfTheNode: CHK-1105, CHK-1106. For each file of each pod and each grant, the check of the manifest says
// what the loader says of the files: the same verdict, for the same reasons, on the same facts.
func TestVerdictsAreThoseOfTheNode(t *testing.T) {
	if !onNode(t) {
		return
	}
	compared, loaded := 0, 0
	engines := map[string]*policy.Engine{}
	for _, s := range setups() {
		clean(t)
		s.build(t)
		for _, relax := range relaxations {
			grants := fmt.Sprintf(`{"secrets":{"services":{"app":[{"id":"volumes","actions":["load_secret"],"source":"file",
				"dirs":["/run/secrets","/mnt"],"relax":{%s}}]}}}`, relax)
			if engines[grants] == nil {
				engines[grants] = open(t, grants)
			}
			predicted, facts := s.check(t, engines[grants])
			for i, p := range predicted {
				seen, file := s.load(t, grants, p.Path)
				compared++
				if seen.Loaded {
					loaded++
				}
				if p.Loaded != seen.Loaded || !slices.Equal(p.Reasons, seen.Reasons) {
					t.Errorf("%s, relax {%s}: the check says %+v, the node %+v", s, relax, p, seen)
				}
				if !reflect.DeepEqual(facts[i], file) {
					t.Errorf("%s: %s is predicted as %+v, and is %+v", s, p.Path, facts[i], file)
				}
			}
		}
	}
	t.Logf("%d loads compared, %d loaded", compared, loaded)
	if compared < 1000 || loaded < compared/20 || loaded > compared/2 {
		t.Errorf("%d of %d loaded: too little is shown", loaded, compared)
	}
}

func open(t *testing.T, grants string) *policy.Engine {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(grants))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Open(context.Background(), b, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

// check judges every file of the manifest by itself.
func (s setup) check(t *testing.T, engine *policy.Engine) (all []outcome, facts []policy.File) {
	t.Helper()
	loads, findings := kubernetes.NewReader().Read("pod.yaml", []byte(s.manifest()))
	for _, f := range findings {
		if f.Bad() {
			t.Fatalf("%+v", f)
		}
	}
	for _, l := range loads {
		views := append(l.Also, l)
		for _, v := range views {
			v.Also = nil
			r := check.Run(context.Background(), check.Config{Policy: engine}, check.Input{Descriptors: 1, Loads: append(loads[:0:0], v)})
			judged := r.Loads[0]
			o := outcome{Path: strings.ReplaceAll(judged.Path, "*", "key"), Loaded: judged.Verdict == check.Allowed}
			for _, reason := range judged.Reasons {
				if reason.Code != check.RuleNotReadable { // which the kernel says, not the policy
					o.Reasons = append(o.Reasons, reason.Code)
				}
			}
			slices.Sort(o.Reasons)
			if judged.Facts != policy.FactsPredicted || v.Runtime == nil {
				t.Fatalf("%+v is not predicted", judged)
			}
			all, facts = append(all, o), append(facts, comparable(v.Runtime.File))
		}
	}
	return all, facts
}

// comparable leaves out what differs between a file and what is known of it before.
func comparable(f policy.File) policy.File {
	f.Size = 0
	slices.Sort(f.Writers.UIDs)
	slices.Sort(f.Readers.UIDs)
	return f
}

var cache = map[string]map[string]probe.Load{}

// load lets the loader load a file as the pod's user. One run of the probe loads them all.
func (s setup) load(t *testing.T, grants, path string) (outcome, policy.File) {
	t.Helper()
	run := s.String() + grants
	if cache[run] == nil {
		cache[run] = s.loadAll(t, grants)
	}
	l, ok := cache[run][path]
	if !ok {
		t.Fatalf("%s was not loaded", path)
	}
	o := outcome{Path: path, Loaded: l.Value == content, Reasons: l.Codes}
	slices.Sort(o.Reasons)
	return o, comparable(l.File)
}

func (s setup) loadAll(t *testing.T, grants string) map[string]probe.Load {
	t.Helper()
	var paths []string
	for _, m := range modes {
		for _, dir := range []string{"/run/secrets/app", "/run/secrets/app/d", "/mnt/app", "/mnt/folder"} {
			paths = append(paths, fmt.Sprintf("%s/m%04o", dir, m))
		}
	}
	paths = append(paths, "/run/secrets/tokens/token", "/run/secrets/tokens/from-secret", "/run/secrets/all/key", "/mnt/one")
	as := &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}
	if s.fsGroup != nil {
		as.Groups = []uint32{uint32(*s.fsGroup)}
	}
	return mountns.Load(t, as, grants, paths...)
}
