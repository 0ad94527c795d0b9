package kubernetes

import (
	"fmt"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// TestSubject: CHK-1110. Who loads: the name by annotation, label or object; the user by container, then pod.
func TestSubject(t *testing.T) {
	const template = "metadata: {%s}\nspec: {selector: {}, template: {metadata: {%s}, spec: {automountServiceAccountToken: false, %s containers: " +
		"[{name: c, image: i, %s env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]}}}\n"
	for _, c := range []struct {
		name, object, pod, spec, container string
		service                            string
		uid                                int64
		open                               bool
		gid                                int64
	}{
		{"the object's name", "name: obj", "", "", "", "obj", -1, true, -1},
		{"a generated name", "generateName: gen-", "", "", "", "gen", -1, true, -1},
		{"the pod's label", "name: obj", "labels: {app.kubernetes.io/name: lab}", "", "", "lab", -1, true, -1},
		{"not the object's label", "name: obj, labels: {app.kubernetes.io/name: lab}", "", "", "", "obj", -1, true, -1},
		{"the object's annotation", "name: obj, annotations: {secretcheck.llorch.dev/service: ann}", "labels: {app.kubernetes.io/name: lab}", "", "", "ann", -1, true, -1},
		{
			"the pod's annotation", "name: obj, annotations: {secretcheck.llorch.dev/service: ann}",
			"annotations: {secretcheck.llorch.dev/service: own}", "", "", "own", -1, true, -1,
		},
		{"the pod's user", "name: obj", "", "securityContext: {runAsUser: 5, runAsGroup: 6},", "", "obj", 5, false, 6},
		{
			"the container's user", "name: obj", "", "securityContext: {runAsUser: 5, runAsGroup: 6},",
			"securityContext: {runAsUser: 7, runAsGroup: 8},", "obj", 7, false, 8,
		},
		{"root", "name: obj", "", "", "securityContext: {runAsUser: 0},", "obj", 0, false, -1},
		{"a user namespace", "name: obj", "", "hostUsers: false, securityContext: {runAsUser: 5},", "", "obj", 5, true, -1},
		{"a user that there is none of", "name: obj", "", "securityContext: {runAsUser: -5},", "", "obj", -1, true, -1},
	} {
		for _, kind := range []string{"apps/v1\nkind: Deployment", "apps/v1\nkind: StatefulSet", "apps/v1\nkind: DaemonSet", "apps/v1\nkind: ReplicaSet", "batch/v1\nkind: Job", "v1\nkind: ReplicationController"} {
			loads, findings := NewReader().Read("m", []byte("apiVersion: "+kind+"\n"+fmt.Sprintf(template, c.object, c.pod, c.spec, c.container)))
			if len(loads) != 1 || len(findings) > 0 && kind[:4] == "apps" {
				t.Errorf("%s, %s: %d loads, %+v", kind, c.name, len(loads), findings)
				continue
			}
			l := loads[0]
			gid := int64(-1)
			if l.GID != nil {
				gid = *l.GID
			}
			if l.Service != c.service || l.Container != "c" || l.UID != c.uid || l.UIDOpen != c.open || gid != c.gid {
				t.Errorf("%s, %s: %+v, gid %d", kind, c.name, l, gid)
			}
		}
	}
	for _, object := range []string{"", "name: 'a b'", `name: "a\e"`, "name: '{{ x }}'", "generateName: '-'", "name: " + strings.Repeat("x", 256)} {
		loads, findings := NewReader().Read("m", []byte("apiVersion: apps/v1\nkind: Deployment\n"+fmt.Sprintf(template, object, "", "", "")))
		if len(loads) != 0 || len(findings) != 1 || !findings[0].Bad() {
			t.Errorf("%s: %+v", object, findings)
		}
	}
}

// TestActions: CHK-1110. What is done with a secret stands in an annotation, of the pod before the object.
func TestActions(t *testing.T) {
	pod := func(actions string) string {
		return strings.Replace(inContainer("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), "namespace: ns",
			"annotations: {secretcheck.llorch.dev/action: '"+actions+"'}", 1)
	}
	for actions, want := range map[string]string{
		"A:load_key": "load_key ", "A:derive_key:p-v1": "derive_key p-v1", "A:load_secret,A:load_key": "load_secret ", " \t": " ", "": " ",
		"A:derive_key": "bad", "A:load_key:p": "bad", "A": "bad", ":load_key": "bad", "A:read": "bad", "A:load_key B": "bad",
	} {
		loads, findings := NewReader().Read("m", []byte(pod(actions)))
		switch {
		case want == "bad":
			if len(loads) != 0 || len(findings) != 1 || !findings[0].Bad() {
				t.Errorf("%q: %d loads, %+v", actions, len(loads), findings)
			}
		case len(loads) != 1 || len(findings) != 0 || string(loads[0].Action)+" "+loads[0].Purpose != want:
			t.Errorf("%q: %+v %+v", actions, loads, findings)
		}
	}
	_, findings := NewReader().Read("m", []byte(pod("B:load_key C:load_key")))
	if len(findings) != 2 || findings[0].Rule != descriptor.RuleUnusedSetting || findings[0].Severity != policy.SeverityWarning {
		t.Errorf("%+v", findings)
	}
}

// TestUnknown: CHK-1111. What the manifest does not tell keeps an allow from being one.
func TestUnknown(t *testing.T) {
	for name, c := range map[string]struct {
		manifest, rule string
		identity       bool
	}{
		"keys":                  {inContainer("envFrom: [{secretRef: {name: s}}]"), descriptor.RuleKeys, true},
		"a driver":              {asVolume("csi: {driver: d}"), descriptor.RuleDriver, false},
		"a subPath of a driver": {strings.Replace(asVolume("csi: {driver: d}"), "mountPath: /m", "mountPath: /m, subPath: x", 1), descriptor.RuleDriver, false},
		"an expression":         {strings.Replace(asVolume("secret: {secretName: s}"), "mountPath: /m", "mountPath: /m, subPathExpr: $(X)", 1), descriptor.RuleExpression, false},
		"Windows":               {asVolume("secret: {secretName: s}") + "  os: {name: windows}\n", descriptor.RulePlatform, false},
		"nothing":               {asVolume("secret: {secretName: s}"), "", false},
	} {
		loads, _ := NewReader().Read("m", []byte(c.manifest))
		if len(loads) != 1 {
			t.Errorf("%s: %d loads", name, len(loads))
			continue
		}
		d := loads[0].Doubt
		if (d == nil) != (c.rule == "") || d != nil && (d.Rule != c.rule || d.Identity != c.identity || d.Fix == "") || (d == nil) != (loads[0].Runtime != nil) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestMounts: CHK-1102. Where a container sees the files of a volume, and where none.
func TestMounts(t *testing.T) {
	const volume = "secret: {secretName: s, items: [{key: k, path: a}, {key: k, path: d/b}]}"
	for mounts, want := range map[string]string{
		"{name: v, mountPath: /m}":                                       "/m/a /m/d/b",
		"{name: v, mountPath: m/}":                                       "/m/a /m/d/b",
		"{name: v, mountPath: /m/../n/.}":                                "/n/a /n/d/b",
		"{name: v, mountPath: /}":                                        "/a /d/b",
		"{name: v, mountPath: /m, subPath: ./}":                          "/m/a /m/d/b",
		"{name: v, mountPath: /m, subPath: a}":                           "/m",
		"{name: v, mountPath: /m, subPath: d}":                           "/m/b",
		"{name: v, mountPath: /m, subPath: d/b}":                         "/m",
		"{name: v, mountPath: /m, subPath: c}":                           "",
		"{name: v, mountPath: /m, subPath: ../a}":                        "bad",
		"{name: v, mountPath: /m, subPath: /a}":                          "bad",
		"{name: v, mountPath: '/m:n'}":                                   "bad",
		"{name: v, mountPath: ''}":                                       "bad",
		"{mountPath: /m}":                                                "bad",
		"{name: w, mountPath: /m}":                                       "bad",
		"{name: v, mountPath: '/{{ .Values.m }}'}":                       "bad",
		"{name: v, mountPath: /m}, {name: v, mountPath: /n, subPath: a}": "/m/a+/n /m/d/b",
	} {
		loads, findings := NewReader().Read("m", []byte(strings.Replace(asVolume(volume), "{name: v, mountPath: /m}", mounts, 1)))
		var got []string
		for _, l := range loads {
			path := l.Path
			for _, a := range l.Also {
				path += "+" + a.Path
			}
			got = append(got, path)
		}
		if len(findings) > 0 && findings[0].Bad() {
			got = append(got, "bad")
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", mounts, got, want)
		}
	}
}

// TestOnePathTwice: CHK-1103. The API server refuses two files of one path, in a secret and over the sources of a volume.
func TestOnePathTwice(t *testing.T) {
	for source, bad := range map[string]bool{
		"secret: {secretName: s, items: [{key: a, path: p}, {key: b, path: ./p}]}":                                                 true,
		"projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}}, {serviceAccountToken: {path: p}}]}":                true,
		"projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}}, {secret: {name: a}}, {secret: {name: b}}]}":        false,
		"projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}}, {secret: {name: b, items: [{key: k, path: q}]}}]}": false,
	} {
		loads, findings := NewReader().Read("m", []byte(asVolume(source)))
		if bad != (len(loads) == 0) || bad != (len(findings) == 1 && findings[0].Bad()) {
			t.Errorf("%s: %d loads, %+v", source, len(loads), findings)
		}
	}
}
