package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// conftestRatios compares a check of manifests with conftest, which is built from this module, on the same files and a
// policy that says the same of them: which secret a service may have, where, and that its mode lets nobody else read it.
func conftestRatios() []ratio {
	return []ratio{{name: "check_vs_conftest", limit: 0.5, measure: checkVersusConftest}}
}

const manifests = 1_000

func checkVersusConftest() (value float64, err error) {
	s, err := newSite(1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := s.manifests(); err != nil {
		return 0, err
	}
	conftest := filepath.Join(s.dir, "conftest")
	if err := s.do("go", "build", "-o", conftest, "github.com/open-policy-agent/conftest"); err != nil {
		return 0, err
	}
	files := filepath.Join(s.dir, "manifests")
	var failed error
	return compareOnce(5, func() {
		failed = errors.Join(failed, s.do(s.program, "check", files, "--policy", s.bundle()))
	}, func() {
		failed = errors.Join(failed, s.do(conftest, "test", files, "--policy", filepath.Join(s.dir, "rego"), "--data", filepath.Join(s.dir, "policy", "data.json"), "--no-color"))
	}), failed
}

const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: svc-%[1]d, namespace: bench, labels: {app.kubernetes.io/name: svc-%[1]d}}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: svc-%[1]d}}
  template:
    metadata: {labels: {app.kubernetes.io/name: svc-%[1]d}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 3000}
      containers:
        - name: main
          image: registry.example.org/svc:1
          volumeMounts: [{name: secrets, mountPath: /run/secrets/svc-%[1]d, readOnly: true}]
      volumes:
        - name: secrets
          secret:
            secretName: svc-%[1]d
            defaultMode: 0400
            items: [{key: api-token, path: api-token}, {key: seal-key, path: seal-key}]
`

const equivalent = `package main

import rego.v1

pod := input.spec.template

service := pod.metadata.labels["app.kubernetes.io/name"]

loads contains load if {
	some container in pod.spec.containers
	some mount in container.volumeMounts
	some volume in pod.spec.volumes
	volume.name == mount.name
	some item in volume.secret.items
	load := {"dir": mount.mountPath, "path": sprintf("%s/%s", [mount.mountPath, item.path]), "mode": object.get(item, "mode", volume.secret.defaultMode)}
}

granted(load) if {
	some grant in data.secrets.services[service]
	some dir in grant.dirs
	startswith(load.path, sprintf("%s/", [dir]))
}

deny contains msg if {
	some load in loads
	not granted(load)
	msg := sprintf("no grant lets service %q load %s", [service, load.path])
}

deny contains msg if {
	some load in loads
	bits.and(load.mode, 7) != 0
	msg := sprintf("everybody can read %s", [load.path])
}
`

// manifests writes what both judge, and the policies.
func (s *site) manifests() error {
	dir, rego := filepath.Join(s.dir, "manifests"), filepath.Join(s.dir, "rego")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(rego, 0o700)); err != nil {
		return err
	}
	grants := make([]string, manifests)
	for i := range grants {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("svc-%d.yaml", i)), fmt.Appendf(nil, manifest, i), 0o600); err != nil {
			return err
		}
		grants[i] = fmt.Sprintf(`"svc-%[1]d":[{"id":"g","actions":["load_secret"],"source":"file","dirs":["/run/secrets/svc-%[1]d"],`+
			`"relax":{"symlink":true,"group_read":3000}}]`, i)
	}
	data := `{"secrets":{"services":{` + strings.Join(grants, ",") + `}}}`
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "policy", "data.json"), []byte(data), 0o600),
		os.WriteFile(filepath.Join(rego, "secrets.rego"), []byte(equivalent), 0o600),
		s.do(s.program, "policy", "build", filepath.Join(s.dir, "policy"), "-o", s.bundle()),
	)
}
