package compose

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
)

// carriers is what of the Compose specification can carry a secret: a piece of a project for each, and what is to come of
// it, a rule, or the paths of loads.
var carriers = map[string]struct{ project, want string }{
	"container_spec.annotations":              {service("annotations: {api_token: canary}"), descriptor.RulePlainText},
	"container_spec.command":                  {service("command: serve --db-password canary"), descriptor.RulePlainText},
	"container_spec.configs":                  {service("configs: [db_password]") + "configs: {db_password: {file: ./x}}\n", descriptor.RulePlainText},
	"container_spec.entrypoint":               {service("entrypoint: [serve, --db-password=canary]"), descriptor.RulePlainText},
	"container_spec.env_file":                 {service("env_file: vars.env"), descriptor.RulePlainText},
	"container_spec.environment":              {service("environment: {DB_PASSWORD: canary}"), descriptor.RulePlainText},
	"container_spec.image":                    {service("labels: {a: b}") + "  t: {image: 'https://u:canary@registry.example.com/i'}\n", descriptor.RulePlainText},
	"container_spec.label_file":               {service("label_file: vars.env"), descriptor.RulePlainText},
	"container_spec.labels":                   {service("labels: [\"x.token=canary\"]"), descriptor.RulePlainText},
	"container_spec.logging.options":          {service("logging: {driver: splunk, options: {splunk-token: canary}}"), descriptor.RulePlainText},
	"container_spec.networks.driver_opts":     {service("networks: {default: {driver_opts: {psk_secret: canary}}}"), descriptor.RulePlainText},
	"container_spec.secrets":                  {service("secrets: [s]") + top, "/run/secrets/s"},
	"container_spec.storage_opt":              {service("storage_opt: {encryption_key: canary}"), descriptor.RulePlainText},
	"container_spec.sysctls":                  {service("sysctls: {net.secret: canary}"), descriptor.RulePlainText},
	"container_spec.use_api_socket":           {service("use_api_socket: true"), descriptor.RuleAPISocket},
	"container_spec.user":                     {service("user: \"7\", secrets: [s]") + top, "/run/secrets/s as 7"},
	"container_spec.userns_mode":              {service("user: \"7\", userns_mode: private, secrets: [s]") + top, "/run/secrets/s as 7?"},
	"container_spec.platform":                 {service("platform: windows/amd64, secrets: [s]") + top, "/run/secrets/s platform_not_known"},
	"container_spec.read_only":                {service("read_only: true, secrets: [e]") + top, "/run/secrets/e ignored_by_compose"},
	"container_spec.volumes":                  {service("volumes: ['./db_password.txt:/x']"), descriptor.RuleVolume},
	"container_spec.volumes.source":           {service("volumes: [{type: bind, source: ./db_password, target: /x}]"), descriptor.RuleVolume},
	"container_spec.volumes.target":           {service("volumes: [{type: bind, source: ./x, target: /run/secrets/x}]"), descriptor.RuleVolume},
	"container_spec.volumes.volume.labels":    {service("volumes: [{type: volume, target: /x, volume: {labels: {token: canary}}}]"), descriptor.RulePlainText},
	"deployment.labels":                       {service("deploy: {labels: {token: canary}}"), descriptor.RulePlainText},
	"devices.options":                         {service("deploy: {resources: {reservations: {devices: [{capabilities: [gpu], options: {license_key: canary}}]}}}"), descriptor.RulePlainText},
	"gpus.options":                            {service("gpus: [{options: {license_key: canary}}]"), descriptor.RulePlainText},
	"development.watch.exec":                  {service("develop: {watch: [{path: ., action: sync+exec, target: /x, exec: {command: x, environment: {TOKEN: canary}}}]}"), descriptor.RulePlainText},
	"env_file.path":                           {service("env_file: [{path: vars.env, required: false}]"), descriptor.RulePlainText},
	"healthcheck.test":                        {service("healthcheck: {test: [CMD, ping, --password=canary]}"), descriptor.RulePlainText},
	"service.extends":                         {service("extends: t") + "  t: {image: i, secrets: [s]}\n" + top, "/run/secrets/s /run/secrets/s"},
	"service.extends.file":                    {service("extends: {file: base.yaml, service: b}") + top, "/run/secrets/s"},
	"service.pre_start":                       {service("pre_start: [{command: x, secrets: [s]}]") + top, "/run/secrets/s"},
	"service.post_start":                      {service("post_start: [{command: [x, --token=canary]}]"), descriptor.RulePlainText},
	"service.pre_stop":                        {service("pre_stop: [{command: x, environment: [TOKEN=canary]}]"), descriptor.RulePlainText},
	"service.profiles":                        {service("profiles: [p], secrets: [s]") + top, descriptor.RuleProfile},
	"service.provider":                        {service("provider: {type: p}, secrets: [s]") + top, descriptor.RuleIgnoredCompose},
	"service.provider.options":                {service("provider: {type: p, options: {token: canary}}"), descriptor.RulePlainText},
	"service_hook.command":                    {service("post_start: [{command: x --token canary}]"), descriptor.RulePlainText},
	"service_hook.environment":                {service("post_start: [{command: x, environment: {TOKEN: canary}}]"), descriptor.RulePlainText},
	"service_config_or_secret.source":         {service("secrets: [{source: s}]") + top, "/run/secrets/s"},
	"service_config_or_secret.target":         {service("secrets: [{source: s, target: /t}]") + top, "/t"},
	"service_config_or_secret.uid":            {service("secrets: [{source: s, uid: '7'}]") + top, descriptor.RuleNotEnforced},
	"service_config_or_secret.gid":            {service("secrets: [{source: s, gid: '7'}]") + top, descriptor.RuleNotEnforced},
	"service_config_or_secret.mode":           {service("secrets: [{source: s, mode: 0400}]") + top, descriptor.RuleNotEnforced},
	"workload_spec.build.additional_contexts": {service("build: {context: ., additional_contexts: {b: 'https://u:canary@example.com/r.git'}}"), descriptor.RulePlainText},
	"workload_spec.build.args":                {service("build: {context: ., args: [NPM_TOKEN=canary]}"), descriptor.RulePlainText},
	"workload_spec.build.cache_from":          {service("build: {context: ., cache_from: ['type=s3,secret_access_key=canary']}"), descriptor.RulePlainText},
	"workload_spec.build.cache_to":            {service("build: {context: ., cache_to: ['type=s3,secret_access_key=canary']}"), descriptor.RulePlainText},
	"workload_spec.build.context":             {service("build: {context: 'https://u:canary@example.com/r.git'}"), descriptor.RulePlainText},
	"workload_spec.build.dockerfile_inline":   {service("build: {context: ., dockerfile_inline: \"FROM x\\nENV TOKEN=canary\\n\"}"), descriptor.RulePlainText},
	"workload_spec.build.labels":              {service("build: {context: ., labels: {token: canary}}"), descriptor.RulePlainText},
	"workload_spec.build.secrets":             {service("build: {context: ., secrets: [nobody]}"), descriptor.RuleUnparsable},
	".include":                                {"include: [included.yaml]\n", "/run/secrets/i"},
	"include.path":                            {"include: [{path: included.yaml}]\n", "/run/secrets/i"},
	"include.env_file":                        {"include: [{path: included.yaml, env_file: vars.env}]\n", "/run/secrets/i"},
	"include.project_directory":               {"include: [{path: included.yaml, project_directory: sub}]\n", "/run/secrets/i"},
	".jobs":                                   {"jobs: {j: {image: i, triggers: {manual: true}, secrets: [s]}}\n" + top, "/run/secrets/s"},
	"job.profiles":                            {"jobs: {j: {image: i, triggers: {manual: true}, profiles: [p], secrets: [s]}}\n" + top, descriptor.RuleProfile},
	".configs":                                {service("a: b") + "configs: {c: {content: \"password: canary\"}}\n", descriptor.RulePlainText},
	"config.content":                          {service("labels: {}") + "configs: {c: {content: \"a: b\\napi_key: canary\"}}\n", descriptor.RulePlainText},
	"config.environment":                      {service("labels: {}") + "configs: {c: {environment: DB_PASSWORD}}\n", descriptor.RulePlainText},
	"config.labels":                           {service("labels: {}") + "configs: {c: {file: x, labels: {token: canary}}}\n", descriptor.RulePlainText},
	".networks":                               {service("labels: {}") + "networks: {n: {driver_opts: {psk_secret: canary}}}\n", descriptor.RulePlainText},
	"network.driver_opts":                     {service("labels: {}") + "networks: {n: {driver_opts: {token: canary}}}\n", descriptor.RulePlainText},
	"network.ipam.options":                    {service("labels: {}") + "networks: {n: {ipam: {options: {token: canary}}}}\n", descriptor.RulePlainText},
	"network.labels":                          {service("labels: {}") + "networks: {n: {labels: {token: canary}}}\n", descriptor.RulePlainText},
	".volumes":                                {service("labels: {}") + "volumes: {v: {driver_opts: {o: 'user=u,password=canary'}}}\n", descriptor.RulePlainText},
	"volume.driver_opts":                      {service("labels: {}") + "volumes: {v: {driver_opts: {token: canary}}}\n", descriptor.RulePlainText},
	"volume.labels":                           {service("labels: {}") + "volumes: {v: {labels: {token: canary}}}\n", descriptor.RulePlainText},
	".models":                                 {service("labels: {}") + "models: {m: {model: m, runtime_flags: [--api-key, canary]}}\n", descriptor.RulePlainText},
	"model.runtime_flags":                     {service("labels: {}") + "models: {m: {model: m, runtime_flags: [--api-key=canary]}}\n", descriptor.RulePlainText},
	"model.model":                             {service("labels: {}") + "models: {m: {model: 'https://u:canary@example.com/m'}}\n", descriptor.RulePlainText},
	".secrets":                                {service("labels: {}") + "secrets: {forgotten: {file: x}}\n", descriptor.RuleIgnoredCompose},
	".services":                               {service("secrets: [s]") + top, "/run/secrets/s"},
	"secret.environment":                      {service("secrets: [e]") + top, "/run/secrets/e 0444"},
	"secret.external":                         {service("secrets: [x]") + top, descriptor.RuleExternal},
	"secret.external.name":                    {service("secrets: [x]") + "secrets: {x: {external: {name: y}}}\n", descriptor.RuleExternal},
	"secret.file":                             {service("secrets: [s]") + top, "/run/secrets/s"},
	"secret.driver":                           {service("secrets: [d]") + "secrets: {d: {file: x, driver: v}}\n", "/run/secrets/d driver_not_resolved"},
	"secret.driver_opts":                      {service("secrets: [d]") + "secrets: {d: {file: x, driver: v, driver_opts: {token: canary}}}\n", descriptor.RulePlainText},
	"secret.labels":                           {service("secrets: [d]") + "secrets: {d: {file: x, labels: {token: canary}}}\n", descriptor.RulePlainText},
	"secret.name":                             {service("secrets: [x]") + "secrets: {x: {external: true, name: y}}\n", descriptor.RuleExternal},
}

const top = "secrets: {s: {file: ./s}, e: {environment: VARIABLE}, x: {external: true}}\n"

func service(settings string) string {
	if settings == "a: b" {
		settings = "labels: {}"
	}
	if !strings.Contains(settings, "provider:") {
		settings = "image: i, " + settings
	}
	return "services:\n  app: {" + settings + "}\n"
}

// harmless are settings that hold no secret, or whose parts stand for them: names of other things, numbers, switches.
const harmless = `.name .version blkio_limit. blkio_weight. config.external config.file config.name config.template_driver
container_spec.blkio_config container_spec.cap_ container_spec.cgroup container_spec.cpu container_spec.credential_spec container_spec.device
container_spec.dns container_spec.domainname container_spec.extra_hosts container_spec.gpus container_spec.group_add container_spec.hostname
container_spec.init container_spec.ipc container_spec.isolation container_spec.logging container_spec.mac_address container_spec.mem
container_spec.models container_spec.network_mode container_spec.networks container_spec.oom container_spec.pid container_spec.privileged
container_spec.pull_ container_spec.runtime container_spec.security_opt container_spec.shm_size container_spec.stop_ container_spec.tmpfs
container_spec.ulimits container_spec.umask container_spec.uts container_spec.volumes. container_spec.volumes_from container_spec.working_dir
deployment. development.watch devices. env_file. generic_resources. gpus. healthcheck. job.triggers model. network. pre_start_hook. schedule.
secret.template_driver service.attach service.container_name service.deploy service.develop service.extends.service service.external_links
service.links service.provider.type service.restart service.scale service_hook. ulimits. volume. workload_spec.build workload_spec.depends_on
workload_spec.expose workload_spec.healthcheck workload_spec.ports workload_spec.stdin_open workload_spec.tty`

// others are files beside the projects.
var others = map[string]string{
	"/p/vars.env":      "A_TOKEN=canary\n",
	"/p/base.yaml":     "services: {b: {image: i, secrets: [s]}}\n",
	"/p/included.yaml": "services: {i: {image: i, secrets: [i]}}\nsecrets: {i: {file: ./i}}\n",
}

// TestFields: CHK-1122. Every setting of the specification is one that a secret can be in, with a test, or is known not to be.
func TestFields(t *testing.T) {
	var spec map[string]any
	if err := json.Unmarshal([]byte(schema.Schema), &spec); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	properties("", map[string]any{"properties": spec["properties"]}, all)
	for name, def := range spec["$defs"].(map[string]any) {
		properties(name, def, all)
	}
	if len(all) < 300 {
		t.Fatalf("%d settings", len(all))
	}
	prefixes := strings.Fields(harmless)
	for _, p := range prefixes {
		if !slices.ContainsFunc(keys(all), func(name string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s is none of the specification", p)
		}
	}
	for name := range all {
		_, carries := carriers[name]
		if !carries && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			t.Errorf("%s is new: can it hold a secret?", name)
		}
	}
	dir := t.TempDir()
	for name, c := range carriers {
		t.Run(name, func(t *testing.T) {
			if !all[name] {
				t.Error("none of the specification")
			}
			r := Read(inMemory(t, dir, c.project))
			got := outcome(r)
			if strings.HasPrefix(c.want, "/") {
				if got := strings.Join(got.loads, " "); got != c.want {
					t.Errorf("loads %q, want %q; %+v", got, c.want, r.Findings)
				}
			} else if !slices.Contains(got.rules, c.want) {
				t.Errorf("findings %q, want %s\n%s", got.rules, c.want, c.project)
			}
			if text := fmt.Sprintf("%+v", r); strings.Contains(text, "canary") {
				t.Errorf("a value is repeated: %s", text)
			}
		})
	}
}

func keys(m map[string]bool) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// properties lists the settings of a schema, each with those that it stands in.
func properties(name string, def any, all map[string]bool) {
	o, ok := def.(map[string]any)
	if !ok {
		return
	}
	own, _ := o["properties"].(map[string]any)
	for k, v := range own {
		all[name+"."+k] = true
		properties(name+"."+k, v, all)
	}
	for _, list := range []string{"oneOf", "allOf", "anyOf"} {
		parts, _ := o[list].([]any)
		for _, p := range parts {
			properties(name, p, all)
		}
	}
	properties(name, o["items"], all)
	properties(name, o["additionalProperties"], all)
	patterns, _ := o["patternProperties"].(map[string]any)
	for _, p := range patterns {
		properties(name, p, all)
	}
}

type outcomes struct{ loads, rules []string }

func outcome(r Result) (o outcomes) {
	for _, l := range r.Loads {
		text := l.Path
		if l.UID >= 0 {
			text += fmt.Sprintf(" as %d", l.UID)
			if l.UIDOpen {
				text += "?"
			}
		}
		switch {
		case l.Doubt != nil:
			text += " " + l.Doubt.Rule
		case l.Runtime != nil:
			text += fmt.Sprintf(" %04o", l.Runtime.File.Mode)
		}
		o.loads = append(o.loads, text)
	}
	for _, f := range r.Findings {
		o.rules = append(o.rules, f.Rule)
	}
	return o
}

// inMemory is a project with the files beside it, on which compose-go insists that they are there.
func inMemory(t testing.TB, dir, text string) Project {
	t.Helper()
	files := map[string]string{dir + "/compose.yaml": text}
	for name, content := range others {
		files[dir+strings.TrimPrefix(name, "/p")] = content
	}
	return written(t, dir, files)
}
