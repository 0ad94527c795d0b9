package kubernetes

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// candidates are the fields of what is read that can carry a secret or point to one: by their type, their name, or because
// whoever writes them can put any text there. Each is named by its type and field.
func candidates() []string {
	found := map[string]bool{}
	seen := map[reflect.Type]bool{}
	for _, root := range roots() {
		walk(reflect.TypeOf(root), seen, found)
	}
	var names []string
	for n := range found {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

var (
	suspiciousName = regexp.MustCompile(`(?i)secret|token|password|credential|certificate|key|bundle`)
	freeText       = regexp.MustCompile(`^(map\[string\](string|\[\]uint8)|\[\]string)$`)
)

func walk(t reflect.Type, seen map[reflect.Type]bool, found map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		walk(t.Elem(), seen, found)
		return
	case reflect.Struct:
	default:
		return
	}
	if seen[t] || opaque[t.Name()] != "" || strings.HasSuffix(t.Name(), "Status") {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if name != "" && (suspiciousName.MatchString(name) || suspiciousName.MatchString(of.Name()) || freeText.MatchString(of.String()) || name == "value" || name == "repository") {
			found[t.Name()+"."+name] = true
		}
		walk(f.Type, seen, found)
	}
}

// In the manifests of fields, what stands in for a container or volume is put into a pod that is in order otherwise.
func podWith(spec string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec:\n  automountServiceAccountToken: false\n" + spec
}

func inContainer(field string) string {
	return podWith("  containers:\n  - name: c\n    image: i\n    " + field + "\n")
}

func asVolume(source string) string {
	return podWith("  containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /m}]}]\n  volumes: [{name: v, " + source + "}]\n")
}

// fields says of each candidate what a manifest with it gives, or why it carries no secret.
var fields = map[string]struct{ manifest, want, not string }{
	// Loads.
	"EnvVarSource.secretKeyRef":                     {inContainer("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]"), "env A from ns/s/k", ""},
	"SecretKeySelector.key":                         {inContainer("env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: other}}}]"), "env A from ns/s/other", ""},
	"EnvFromSource.secretRef":                       {inContainer("envFrom: [{prefix: P_, secretRef: {name: s}}]"), "env P_* from ns/s in c\n     undecided: keys_unknown", ""},
	"VolumeSource.secret":                           {asVolume("secret: {secretName: s}"), "file /m/* from ns/s", ""},
	"SecretVolumeSource.secretName":                 {asVolume("secret: {secretName: other}"), "file /m/* from ns/other", ""},
	"KeyToPath.key":                                 {asVolume("secret: {secretName: s, items: [{key: k, path: p}]}"), "file /m/p from ns/s/k", ""},
	"VolumeProjection.secret":                       {asVolume("projected: {sources: [{secret: {name: s, items: [{key: k, path: p, mode: 0400}]}}]}"), "file /m/p from ns/s/k in c\n     0400", ""},
	"VolumeProjection.serviceAccountToken":          {asVolume("projected: {sources: [{serviceAccountToken: {path: t}}]}"), "file /m/t from ns/serviceAccountToken", ""},
	"VolumeProjection.podCertificate":               {asVolume("projected: {sources: [{podCertificate: {signerName: s, keyType: ED25519, keyPath: k}}]}"), "file /m/k from ns/podCertificate", ""},
	"PodCertificateProjection.keyPath":              {asVolume("projected: {sources: [{podCertificate: {signerName: s, keyType: ED25519, keyPath: other}}]}"), "file /m/other", ""},
	"PodCertificateProjection.credentialBundlePath": {asVolume("projected: {sources: [{podCertificate: {signerName: s, keyType: ED25519, credentialBundlePath: b}}]}"), "file /m/b", ""},
	"CSIVolumeSource.volumeAttributes":              {asVolume("csi: {driver: d.example.org, volumeAttributes: {secretProviderClass: c, apiToken: canary-x}}"), "secret_in_plain_text m:7:105 p", ""},

	// Findings.
	"EnvVar.value":                             {inContainer("env: [{name: API_TOKEN, value: canary-x}]"), "secret_in_plain_text", ""},
	"EnvVarSource.configMapKeyRef":             {inContainer("env: [{name: API_TOKEN, valueFrom: {configMapKeyRef: {name: m, key: k}}}]"), "secret_in_plain_text", ""},
	"Container.args":                           {inContainer("args: [run, --password=canary-x]"), "secret_in_plain_text", ""},
	"Container.command":                        {inContainer("command: [run, --api-key, canary-x]"), "secret_in_plain_text", ""},
	"ExecAction.command":                       {inContainer("readinessProbe: {exec: {command: [redis-cli, --pass, canary-x]}}"), "secret_in_plain_text", ""},
	"HTTPHeader.value":                         {inContainer("livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: Authorization, value: Basic canary-x}]}}"), "secret_in_plain_text", ""},
	"EphemeralContainerCommon.args":            {podWith("  ephemeralContainers: [{name: e, image: i, args: [--token=canary-x]}]\n"), "secret_in_plain_text", ""},
	"EphemeralContainerCommon.command":         {podWith("  ephemeralContainers: [{name: e, image: i, command: [--token=canary-x]}]\n"), "secret_in_plain_text", ""},
	"GitRepoVolumeSource.repository":           {asVolume("gitRepo: {repository: 'https://user:canary-x@example.org/x.git'}"), "secret_in_plain_text", ""},
	"FlexVolumeSource.options":                 {asVolume("flexVolume: {driver: d, options: {password: canary-x}}"), "secret_in_plain_text", ""},
	"PodCertificateProjection.userAnnotations": {asVolume("projected: {sources: [{podCertificate: {signerName: s, keyType: ED25519, keyPath: k, userAnnotations: {x/token: canary-x}}}]}"), "secret_in_plain_text", ""},
	"ObjectMeta.annotations":                   {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, annotations: {x/password: canary-x}}\n", "secret_in_plain_text", ""},
	"ObjectMeta.labels":                        {strings.Replace(inContainer(""), "namespace: ns", "labels: {password: canary-x}", 1), "secret_in_plain_text", ""},
	"ConfigMap.data":                           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {db_password: canary-x}\n", "secret_in_plain_text", ""},
	"ConfigMap.binaryData":                     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\nbinaryData: {db_password: Y2FuYXJ5}\n", "secret_in_plain_text", ""},
	"Secret.data":                              {"apiVersion: v1\nkind: Secret\nmetadata: {name: m}\ndata: {x: Y2FuYXJ5}\n", "secret_in_manifest", ""},
	"Secret.stringData":                        {"apiVersion: v1\nkind: Secret\nmetadata: {name: m}\nstringData: {x: canary-x}\n", "secret_in_manifest", ""},
	"PodSpec.automountServiceAccountToken":     {strings.Replace(inContainer(""), "Token: false", "Token: true", 1), "service_account_token", ""},
	"ServiceAccount.automountServiceAccountToken": {"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: ns}\nautomountServiceAccountToken: false\n---\n" +
		strings.Replace(inContainer(""), "  automountServiceAccountToken: false\n", "", 1), "", ""},

	// What the node does with a secret, the service does not see.
	"AzureFileVolumeSource.secretName":     {asVolume("azureFile: {secretName: s, shareName: x}"), "", "the node mounts a share with it"},
	"CephFSVolumeSource.secretFile":        {asVolume("cephfs: {monitors: [m], secretFile: /etc/ceph/user.secret}"), "", "a file of the node"},
	"CephFSVolumeSource.secretRef":         {asVolume("cephfs: {monitors: [m], secretRef: {name: s}}"), "", "the node mounts with it"},
	"CinderVolumeSource.secretRef":         {asVolume("cinder: {volumeID: v, secretRef: {name: s}}"), "", "the node mounts with it"},
	"FlexVolumeSource.secretRef":           {asVolume("flexVolume: {driver: d, secretRef: {name: s}}"), "", "the node mounts with it"},
	"ISCSIVolumeSource.secretRef":          {asVolume("iscsi: {targetPortal: t, iqn: i, lun: 0, secretRef: {name: s}}"), "", "the node mounts with it"},
	"RBDVolumeSource.secretRef":            {asVolume("rbd: {monitors: [m], image: i, secretRef: {name: s}}"), "", "the node mounts with it"},
	"RBDVolumeSource.keyring":              {asVolume("rbd: {monitors: [m], image: i, keyring: /etc/ceph/keyring}"), "", "a file of the node"},
	"ScaleIOVolumeSource.secretRef":        {asVolume("scaleIO: {gateway: g, system: s, secretRef: {name: s}}"), "", "the node mounts with it"},
	"StorageOSVolumeSource.secretRef":      {asVolume("storageos: {volumeName: v, secretRef: {name: s}}"), "", "the node mounts with it"},
	"CSIVolumeSource.nodePublishSecretRef": {strings.Replace(asVolume("csi: {driver: d.example.org, nodePublishSecretRef: {name: s}}"), "volumeMounts: [{name: v, mountPath: /m}]", "", 1), "ignored_by_kubernetes", "the driver gets it"},
	"PodSpec.imagePullSecrets":             {podWith("  imagePullSecrets: [{name: s}]\n  containers: [{name: c, image: i}]\n"), "", "the node fetches images with it"},
	"ServiceAccount.imagePullSecrets":      {"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nimagePullSecrets: [{name: s}]\n", "", "the node fetches images with it"},
	"ServiceAccount.secrets":               {"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nsecrets: [{name: s}]\n", "", "what pods of the account may mount; what they do mount stands in them"},

	// Names of other things, and texts that are none of a secret's.
	"EnvVarSource.fileKeyRef":                              {not: "a variable from a file that the pod itself writes into an emptyDir"},
	"FileKeySelector.key":                                  {not: "a name in such a file"},
	"ConfigMapKeySelector.key":                             {not: "a name in a ConfigMap; see EnvVarSource.configMapKeyRef"},
	"Secret.type":                                          {not: "what kind of secret it is"},
	"VolumeProjection.clusterTrustBundle":                  {not: "public certificates"},
	"PodCertificateProjection.certificateChainPath":        {not: "public certificates"},
	"PodCertificateProjection.keyType":                     {not: "an algorithm"},
	"CephFSVolumeSource.monitors":                          {not: "addresses"},
	"RBDVolumeSource.monitors":                             {not: "addresses"},
	"ISCSIVolumeSource.portals":                            {not: "addresses"},
	"FCVolumeSource.targetWWNs":                            {not: "addresses"},
	"FCVolumeSource.wwids":                                 {not: "addresses"},
	"HostAlias.hostnames":                                  {not: "addresses"},
	"PodDNSConfig.nameservers":                             {not: "addresses"},
	"PodDNSConfig.searches":                                {not: "domains"},
	"PodDNSConfigOption.value":                             {not: "a setting of the resolver"},
	"Sysctl.value":                                         {not: "a setting of the kernel"},
	"VolumeMount.bindMountOptions":                         {not: "options of mount(2)"},
	"ObjectMeta.finalizers":                                {not: "names of controllers"},
	"LabelSelector.matchLabels":                            {not: "selects by labels, which are looked at where they are"},
	"LabelSelectorRequirement.key":                         {not: "selects by labels"},
	"LabelSelectorRequirement.values":                      {not: "selects by labels"},
	"ReplicationControllerSpec.selector":                   {not: "selects by labels"},
	"NodeSelectorRequirement.key":                          {not: "selects nodes"},
	"NodeSelectorRequirement.values":                       {not: "selects nodes"},
	"PodSpec.nodeSelector":                                 {not: "selects nodes"},
	"PodAffinityTerm.matchLabelKeys":                       {not: "selects pods"},
	"PodAffinityTerm.mismatchLabelKeys":                    {not: "selects pods"},
	"PodAffinityTerm.namespaces":                           {not: "selects pods"},
	"PodAffinityTerm.topologyKey":                          {not: "selects nodes"},
	"TopologyConstraint.key":                               {not: "selects nodes"},
	"TopologySpreadConstraint.matchLabelKeys":              {not: "selects pods"},
	"TopologySpreadConstraint.topologyKey":                 {not: "selects nodes"},
	"Toleration.key":                                       {not: "selects nodes"},
	"Toleration.value":                                     {not: "selects nodes"},
	"WindowsSecurityContextOptions.gmsaCredentialSpec":     {not: "names an account of Active Directory; its password is not in it"},
	"WindowsSecurityContextOptions.gmsaCredentialSpecName": {not: "names such an account"},
}

// TestEveryFieldThatCanCarryASecret: CHK-1104. A field that k8s.io/api gets is in nobody's table until somebody has looked
// at it.
func TestEveryFieldThatCanCarryASecret(t *testing.T) {
	all := candidates()
	if len(all) < 80 {
		t.Errorf("%d candidates", len(all))
	}
	for name := range fields {
		if !slices.Contains(all, name) {
			t.Errorf("%s is no field", name)
		}
	}
	for _, name := range all {
		f, ok := fields[name]
		if !ok {
			t.Errorf("nobody has looked at %s", name)
		}
		if f.manifest == "" {
			if f.not == "" {
				t.Errorf("%s: neither a test nor a reason", name)
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			got := describe(NewReader().Read("m", []byte(f.manifest)))
			if f.want == "" && got != "" || !strings.Contains(got, f.want) || strings.Contains(got, "unknown_field") || strings.Contains(got, "unparsable") {
				t.Errorf("got %q, want %q", got, f.want)
			}
			if strings.Contains(got, "canary") || strings.Contains(got, "Y2FuYXJ5") {
				t.Error("a value is repeated")
			}
		})
	}
}
