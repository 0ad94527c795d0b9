package identity

import (
	"strings"
	"testing"
)

// TestUnitOf: IDN-1002. What a cgroup's path proves, and what it does not.
func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		// Refused. What is named by a user, a unit or a container:
		"/user.slice/user-1000.slice/user@1000.service/app.slice/queen-rbee.service":             "",
		"/user.slice/user-1000.slice/user@1000.service/system.slice/queen-rbee.service":          "",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-system.slice/queen.service": "",
		"/user.slice/user-1000.slice/session-3.scope":                                            "",
		"/system.slice/user@1000.service":                                                        "",
		"/system.slice/user@1000.service/app.slice/queen-rbee.service":                           "",
		"/system.slice/evil.service/queen-rbee.service":                                          "",
		"/system.slice/evil.service/system.slice/queen-rbee.service":                             "",
		"/system.slice/queen-rbee.service/":                                                      "",
		"/system.slice/queen-rbee.service/.control":                                              "",
		"/system.slice/docker-0123456789ab.scope":                                                "",
		"/system.slice/docker-0123456789ab.scope/system.slice/queen-rbee.service":                "",
		"/machine.slice/system.slice/queen-rbee.service":                                         "",
		"/kubepods.slice/kubepods-pod1.slice/cri-1.scope":                                        "",
		"/docker/0123456789ab":                                                                   "",
		// A namespace's own root, and what lies outside of it:
		"/": "", "": "", "/../system.slice/queen-rbee.service": "", "/../../queen-rbee.service": "",
		// Other slices, and slices that are none of system.slice:
		"/queen-rbee.service": "", "/custom.slice/queen-rbee.service": "", "/system.slice": "", "/system.slice/": "",
		"/system.slice/system-getty.slice":                               "",
		"/system.slice/custom.slice/queen-rbee.service":                  "",
		"/system.slice/systemd-x.slice/queen-rbee.service":               "",
		"/system.slice/system-a-b.slice/queen-rbee.service":              "",
		"/system.slice/system-.slice/queen-rbee.service":                 "",
		"/system.slice/system-a.slice/system-b.slice/queen-rbee.service": "",
		"system.slice/queen-rbee.service":                                "",
		"/SYSTEM.SLICE/queen-rbee.service":                               "",
		// What is no name of a service that runs:
		"/system.slice/queen-rbee.service (deleted)": "", "/system.slice/.service": "", "/system.slice/@a.service": "",
		"/system.slice/queen@.service": "", "/system.slice/queen rbee.service": "", "/system.slice/qüen.service": "",
		"/system.slice/queen\x00.service": "", "/system.slice/queen-rbee.socket": "", "/system.slice/-.mount": "",
		"/system.slice/" + strings.Repeat("q", 248) + ".service": "",
		// Proven:
		"/system.slice/queen-rbee.service":                                    "queen-rbee.service",
		"/system.slice/_cpu.service":                                          "cpu.service", // cpu. is a prefix of files of the kernel's
		"/system.slice/__queen.service":                                       "_queen.service",
		`/system.slice/dev-disk\x2dby.service`:                                `dev-disk\x2dby.service`,
		"/system.slice/system-getty.slice/getty@tty1.service":                 "getty@tty1.service",
		"/system.slice/system-a.slice/system-a-b.slice/q.service":             "q.service",
		`/system.slice/system-systemd\x2dfsck.slice/systemd-fsck@dev.service`: "systemd-fsck@dev.service",
		"/system.slice/" + strings.Repeat("q", 247) + ".service":              strings.Repeat("q", 247) + ".service",
	} {
		got, err := unitOf(cgroup)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v; want %q", cgroup, got, err, want)
		}
	}
}

// TestPlace: IDN-1002. Version 2 says where the process is, and systemd's own hierarchy, where there is one, the same.
func TestPlace(t *testing.T) {
	const there = "/system.slice/queen-rbee.service"
	for text, want := range map[string]string{
		"0::" + there + "\n": there,
		"0::" + there:        there,
		"9:name=systemd:" + there + "\n8:pids:/x\n2:cpu,cpuacct:/\n0::" + there: there,
		"0::/a:b\n": "/a:b",
		"":          "", "0::": "", "garbage\n": "", "0:" + there: "",
		"1:name=systemd:" + there + "\n":                              "", // version 1 alone
		"1:name=systemd:" + there + "\n0::/\n":                        "",
		"1:name=systemd:/user.slice\n0::" + there + "\n":              "",
		"1:name=systemd:/\n0::" + there + "\n":                        there, // its manager does not use that one
		"0::" + there + "\n0::/user.slice\n":                          "",
		"1:name=systemd:" + there + "\n2:name=systemd:/\n0::" + there: "",
		"1::" + there + "\n":                                          "",
		"1:name=systemdx:/\n0::" + there + "\ngarbage":                "",
	} {
		got, err := cgroupOf(text)
		if got != want || want != "" && err != nil {
			t.Errorf("%q gives %q, %v; want %q", text, got, err, want)
		}
		if want == "" && err == nil {
			if _, err := unitOf(got); err == nil {
				t.Errorf("%q gives %q and a unit", text, got)
			}
		}
	}
}

// TestEveryID: IDN-1001. Only a map of every id to itself shows that ids mean the same outside.
func TestEveryID(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":      true,
		"0 0 1\n1 1 4294967294\n":                 true,  // systemd's PrivateUsers=full
		"0 0 1\n990 990 1\n":                      false, // systemd's PrivateUsers=yes
		"990 1000 1\n":                            false,
		"0 0 65536\n":                             false,
		"0 100000 65536\n":                        false,
		"0 0 4294967294\n":                        false,
		"1 1 4294967294\n":                        false,
		"0 1 4294967295\n":                        false,
		"0 0 990\n990 1000 1\n991 991 4294966304": false,
		"": false, "0 0": false, "0 0 x\n": false, "0 0 99999999999\n": false, "-1 0 1": false,
	} {
		if err := everyID(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzUnitOf: IDN-1002. Whatever a path holds, a unit comes from the last component of one in the system slice.
func FuzzUnitOf(f *testing.F) {
	f.Add("0::/system.slice/queen-rbee.service\n")
	f.Add("1:name=systemd:/system.slice/system-a.slice/a@b.service\n0::/system.slice/system-a.slice/a@b.service\n")
	f.Fuzz(func(t *testing.T, text string) {
		cgroup, err := cgroupOf(text)
		if err != nil {
			return
		}
		unit, err := unitOf(cgroup)
		if err != nil {
			return
		}
		last := cgroup[strings.LastIndexByte(cgroup, '/')+1:]
		if !strings.HasPrefix(cgroup, "/system.slice/") || last != unit && last != "_"+unit || !strings.HasSuffix(unit, ".service") ||
			strings.Contains(cgroup, ".service/") || strings.Contains(cgroup, ".scope/") {
			t.Errorf("%q gives %q", text, unit)
		}
	})
}
