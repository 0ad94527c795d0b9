package main

import (
	"context"
	"os/exec"
	"path"
	"regexp"
	"strconv"
	"time"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/host"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/systemd"
)

// latest bounds what --systemd-version takes: a typing error must not pass for a version.
const latest = 999

// systemdVersion is the version of systemd that units are read for: what was asked for, else that of the root, else the
// newest that this program was compared with. Without a root nothing on the host is looked at.
func systemdVersion(ctx context.Context, asked string, root *host.Host, own bool) (int, error) {
	if asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < systemd.Oldest || n > latest {
			return 0, usage("secretcheck check --help", "--systemd-version is a number from %d, such as %d, not %q", systemd.Oldest, systemd.Newest, asked)
		}
		return n, nil
	}
	if own {
		if n := running(ctx); n > 0 {
			return n, nil
		}
	}
	if root != nil {
		if n := installed(root); n > 0 {
			return n, nil
		}
	}
	return systemd.Newest, nil
}

var versionLine = regexp.MustCompile(`^systemd (\d{1,4})\b`)

// running asks the systemd of this machine, 0 where there is none.
func running(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "--version").Output()
	if m := versionLine.FindSubmatch(out); err == nil && m != nil {
		return known(string(m[1]))
	}
	return 0
}

// known is the version that a text says, 0 for one that has no credentials.
func known(digits string) int {
	if n, err := strconv.Atoi(digits); err == nil && n >= systemd.Oldest && n <= latest {
		return n
	}
	return 0
}

var libraryName = regexp.MustCompile(`^libsystemd-(?:shared|core)-(\d{1,4})\b`)

// installed looks for the library of systemd in a root, which has its version in its name. Where it lies depends on the
// distribution. It is 0 where there is none.
func installed(root *host.Host) int {
	dirs := []string{"/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"}
	if libraries, err := root.List("/usr/lib"); err == nil {
		for _, l := range libraries {
			if l.IsDir() {
				dirs = append(dirs, path.Join("/usr/lib", l.Name(), "systemd"))
			}
		}
	}
	for _, dir := range dirs {
		files, err := root.List(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if m := libraryName.FindStringSubmatch(f.Name()); m != nil && known(m[1]) > 0 {
				return known(m[1])
			}
		}
	}
	return 0
}
