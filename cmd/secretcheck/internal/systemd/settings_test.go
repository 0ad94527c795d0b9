package systemd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// showSettings writes what the settings of a unit come to in one line each: variables as NAME@LINE:COLUMN-LINE:COLUMN, "?" for
// a doubt, findings as !RULE and the same.
func showSettings(u Unit) string {
	loads, findings := Read(u)
	var out []string
	for _, l := range loads {
		if l.Source != policy.SourceEnv {
			continue
		}
		s := l.Name
		if l.Doubt != nil {
			s = "?" + s
		}
		out = append(out, s+place(l.Position))
	}
	for _, f := range findings {
		s := "!" + f.Rule
		if f.Unread != nil {
			s += " " + f.Unread.Path
		}
		out = append(out, s+place(f.Position))
	}
	return strings.Join(out, "\n")
}

func place(p descriptor.Position) string {
	return fmt.Sprintf("@%d:%d-%d:%d", p.Line, p.Column, p.EndLine, p.EndColumn)
}

// What a case is about is in force in systemd as well: TestCHK1074Show compares the rest.
var settingCases = []struct{ id, unit, want string }{
	{"CHK-1070/quoting", "Environment=\"A_TOKEN=x y\" 'B_TOKEN'=z", "A_TOKEN@2:14-2:26\nB_TOKEN@2:28-2:38\n!secret_in_environment@2:14-2:26\n!secret_in_environment@2:28-2:38"},
	{"CHK-1070/continued", "Environment=A=1 \\\n# B_TOKEN=2\n  C_TOKEN=é\\\n", "C_TOKEN@4:3-4:12\n!secret_in_environment@4:3-4:12"},
	{"CHK-1070/specifier_in_name", "Environment=%p_TOKEN=x", "u_TOKEN@2:13-2:23\n!secret_in_environment@2:13-2:23"},
	{"CHK-1070/host_specifier_in_name", "Environment=%H_TOKEN=x", "?%H_TOKEN@2:13-2:23\n!secret_in_environment@2:13-2:23"},
	{"CHK-1070/host_specifier_in_value", "Environment=A_TOKEN=%H", "A_TOKEN@2:13-2:23\n!secret_in_environment@2:13-2:23"},
	{"CHK-1070/words_before_a_fault", "Environment=A_TOKEN=x 1B=y \"C", "A_TOKEN@2:13-2:22\n!ignored_by_systemd@2:23-2:27\n!ignored_by_systemd@2:28-2:30\n!secret_in_environment@2:13-2:22"},
	{"CHK-1070/unknown_specifier", "Environment=A_TOKEN=%z", "!ignored_by_systemd@2:13-2:23"},
	{"CHK-1070/user", "User=a:b\nUser=\nGroup=x/y", "!refused_by_systemd@2:6-2:9\n!refused_by_systemd@4:7-4:10"},
	{"CHK-1070/dynamic_user", "DynamicUser=", "!refused_by_systemd@2:1-2:13"},
	{"CHK-1070/umask", "UMask=0o77\nUMask=077", "!ignored_by_systemd@2:7-2:11"},
	{"CHK-1070/boolean", "MemoryDenyWriteExecute=maybe", "!ignored_by_systemd@2:24-2:29"},
	{"CHK-1070/limit", "LimitMEMLOCK=5:4\nLimitMEMLOCK=1Q", "!ignored_by_systemd@2:14-2:17\n!ignored_by_systemd@3:14-3:16"},
	{"CHK-1070/filter", "SystemCallFilter=@nothing :EPERM", "!ignored_by_systemd@2:18-2:33\n!ignored_by_systemd@2:18-2:33"},
	{"CHK-1070/executable", "ExecStart=bin/x", "!refused_by_systemd@2:11-2:16"},
	{"CHK-1070/executable_that_may_fail", "ExecStart=-bin/x", "!ignored_by_systemd@2:11-2:17"},
	{"CHK-1070/quotes_of_an_argument", "ExecStart=/x \"y", "!refused_by_systemd@2:11-2:16"},
	{"CHK-1070/quotes_of_the_first_word", "ExecStart=\"/x y", "!ignored_by_systemd@2:11-2:16"},
	{"CHK-1070/files", "EnvironmentFile=etc/x\nEnvironmentFile=-/etc//x/\nEnvironmentFile=/%H", "!ignored_by_systemd@2:17-2:22\n!environment_file_unread /etc/x@3:17-3:26\n!environment_file_unread@4:17-4:20"},
	{"CHK-1070/files_reset", "EnvironmentFile=/etc/x\nEnvironmentFile=", ""},

	{"CHK-1071/last_in_force", "Environment=A_TOKEN=1\nEnvironment=A_TOKEN=2", "A_TOKEN@3:13-3:22\n!secret_in_environment@3:13-3:22"},
	{"CHK-1071/replaced_by_a_path", "Environment=A_TOKEN=1\nEnvironment=A_TOKEN=/run/x", ""},
	{"CHK-1071/reset", "Environment=A_TOKEN=1\nEnvironment=", ""},
	{"CHK-1071/taken_out", "Environment=A_TOKEN=1\nUnsetEnvironment=A_TOKEN", "!secret_in_environment@2:13-2:22"},
	{"CHK-1071/taken_out_with_a_value", "Environment=A_TOKEN=1\nUnsetEnvironment=A_TOKEN=2", "A_TOKEN@2:13-2:22\n!secret_in_environment@2:13-2:22"},
	{"CHK-1071/passed", "PassEnvironment=A_TOKEN B A_TOKEN", "A_TOKEN@2:17-2:24\n!secret_passed_on@2:17-2:24"},
	{"CHK-1071/passed_and_set", "PassEnvironment=A_TOKEN\nEnvironment=A_TOKEN=", ""},
	{"CHK-1071/passed_and_taken_out", "PassEnvironment=A_TOKEN\nUnsetEnvironment=A_TOKEN", ""},
	{"CHK-1071/twice", "SetCredentialEncrypted=a-token:eHg=\nPassEnvironment=A_TOKEN", "A_TOKEN@3:17-3:24\n!secret_passed_on@3:17-3:24\n!secret_twice@3:17-3:24"},
	{"CHK-1071/misspelt", "Environmentt=A_TOKEN=x", "!ignored_by_systemd@2:1-2:13"},

	{"CHK-1073/option", "ExecStart=/x --token=é --password y -secret=z --token", "!secret_in_argument@2:22-2:23\n!secret_in_argument@2:35-2:36\n!secret_in_argument@2:45-2:46"},
	{"CHK-1073/no_option", "ExecStart=/x --token-file=/etc/x --token --other -p y --password-file z token", ""},
	{"CHK-1073/references", "ExecStart=/x --token=$T --token ${T} --password=@/etc/x", ""},
	{"CHK-1073/dollar", "ExecStart=/x --token=a$$b", "!secret_in_argument@2:22-2:26"},
	{"CHK-1073/assignment", "ExecStart=/usr/bin/env A_TOKEN=x docker run -e B_TOKEN=y --env=C_TOKEN=z i", "!secret_in_argument@2:32-2:33\n!secret_in_argument@2:56-2:57\n!secret_in_argument@2:72-2:73"},
	{"CHK-1073/shell", "ExecStart=/bin/bash -lc 'A_TOKEN=\"x y\" app --secret z; (B_TOKEN=$(c) d)'", "!secret_in_argument@2:35-2:39\n!secret_in_argument@2:53-2:54"},
	{"CHK-1073/no_shell", "ExecStart=/bin/echo -c 'A B_TOKEN=x'", ""},
	{"CHK-1073/second_command", "ExecStart=/x ; -@/y z --token=\"w\" \\; --token v", "!secret_in_argument@2:32-2:34\n!secret_in_argument@2:46-2:47"},
	{"CHK-1073/reset", "ExecStart=/x --token=y\nExecStart=\nExecStop=/x --token=y", "!secret_in_argument@4:21-4:22"},
	{"CHK-1073/all_keys", "ExecCondition=/x --token=y\nExecStartPre=/x --token=y\nExecStartPost=/x --token=y\nExecReload=/x --token=y\nExecStopPost=/x --token=y", "!secret_in_argument@2:26-2:27\n!secret_in_argument@5:23-5:24\n!secret_in_argument@4:26-4:27\n!secret_in_argument@3:25-3:26\n!secret_in_argument@6:25-6:26"},
}

func TestSettings(t *testing.T) {
	for _, c := range settingCases {
		t.Run(c.id, func(t *testing.T) {
			if got := showSettings(unit("u.service", "[Service]\n"+c.unit+"\n")); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// Nothing of a value comes back. (SM-SEC-5002)
// Evidence for CHK-1003, CHK-1079.
func TestCHK1079ValuesAreDropped(t *testing.T) {
	const canary = "cAnArY-7f3a"
	for _, text := range []string{
		"Environment=TOKEN=" + canary, "Environment=" + canary, "Environment=\"TOKEN=" + canary, "Environment=TOKEN=%z" + canary, "Environment=%HTOKEN=" + canary,
		"PassEnvironment=A=" + canary, "PassEnvironment=\"" + canary, "UnsetEnvironment=TOKEN=" + canary, "UnsetEnvironment=TOKEN=%H" + canary,
		"EnvironmentFile=" + canary, "User=" + canary + ":", "Group=/" + canary, "DynamicUser=" + canary, "UMask=" + canary,
		"MemoryDenyWriteExecute=" + canary, "SystemCallFilter=@" + canary, "SystemCallErrorNumber=" + canary, "LimitMEMLOCK=" + canary,
		"ExecStart=/x --token " + canary, "ExecStart=/x --token=" + canary, "ExecStart=/x --" + canary + "-é-token x", "ExecStart=x/" + canary,
		"ExecStart=/x \"" + canary, "ExecStart=sh -c 'TOKEN=" + canary + "'", "Environmentt=TOKEN=" + canary, "InaccessiblePaths=" + canary,
	} {
		loads, findings := Read(unit("u.service", "[Service]\n"+text))
		got := fmt.Sprintf("%+v %+v", loads, findings)
		for _, l := range loads {
			got += fmt.Sprintf("%+v", *l.Environment)
		}
		if strings.Contains(got, canary) {
			t.Errorf("%q comes back: %s", text, got)
		}
	}
}

// Units of the largest size, made of nothing but what is told about, take time in proportion.
// Evidence for CHK-1079.
func TestCHK1079LargeUnits(t *testing.T) {
	const size = 1 << 20
	for name, text := range map[string]string{
		"one line of variables":    "Environment=" + strings.Repeat("A_TOKEN=x ", size/10),
		"variables of many names":  "Environment=" + numbered("A%d_TOKEN=x ", size/16),
		"continued variables":      "Environment=" + strings.Repeat("A_TOKEN=x\\\n", size/11),
		"faults":                   "Environment=" + strings.Repeat("1 ", size/2),
		"options":                  "ExecStart=/x " + strings.Repeat("--token=y ", size/10),
		"a script":                 "ExecStart=sh -c 'TOKEN=${" + strings.Repeat("}", size) + "'",
		"a script with references": "ExecStart=sh -c '" + strings.Repeat("TOKEN=$(x) ", size/11) + "'",
		"commands":                 "ExecStart=" + strings.Repeat("/x;/y ; ", size/8),
		"filters":                  "SystemCallFilter=" + strings.Repeat("@system-service ", size/16),
		"paths":                    numbered("InaccessiblePaths=/%d\n", size/24) + strings.Repeat("TemporaryFileSystem=\n", size/60),
		"lines":                    numbered("ExecStart=/x --token=%d\n", size/30),
	} {
		start := time.Now()
		_, findings := Read(unit("u.service", "[Service]\n"+text))
		if took := time.Since(start); took > 20*time.Second { // a quadratic walk takes minutes
			t.Errorf("%s: %v, %d findings", name, took, len(findings))
		}
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
