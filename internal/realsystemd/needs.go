package realsystemd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// Available reports whether machines can be booted here. Where not, it says so in a line, and fails the test under CI=true.
func Available(t testing.TB) bool {
	t.Helper()
	return asnobody.Root(t) &&
		has(t, "systemctl", "systemd") && has(t, "unshare", "util-linux") && has(t, "script", "bsdutils")
}

func has(t testing.TB, command, pack string) bool {
	t.Helper()
	_, err := exec.LookPath(command)
	if err != nil {
		asnobody.NotRun(t, "install "+pack)
	}
	return err == nil
}

const (
	suite    = "trixie" // Debian 13
	packages = "systemd,systemd-sysv,acl,dbus"
)

// Debian13 gives the root file system of a Debian 13, which has systemd 257. It is made by mmdebstrap from the mirror that
// this machine's apt is set up with, verified with Debian's keyring, and kept in the user's cache directory. Where that is
// not possible it says so in a line, and fails the test under CI=true.
func Debian13(t testing.TB) (root string, ok bool) {
	t.Helper()
	if !Available(t) || !has(t, "mmdebstrap", "mmdebstrap") || !has(t, "flock", "util-linux") {
		return "", false
	}
	root, err := debian13()
	if err != nil {
		asnobody.NotRun(t, fmt.Sprintf("a Debian 13 could not be made: %v", err))
		return "", false
	}
	return root, true
}

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func debian13() (string, error) {
	if _, err := os.Stat(keyring); err != nil {
		return "", fmt.Errorf("install debian-archive-keyring: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	// Root's programs with set-user-ID bits are in there, ever older: no other user gets at them.
	cache = filepath.Join(cache, "secrets-management", "test-roots")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(suite + " " + packages + " " + runtime.GOARCH))
	root := filepath.Join(cache, suite+"-"+hex.EncodeToString(sum[:4]))
	// Test programs of several packages may come here at the same time.
	cmd := exec.Command("flock", root+".lock", "bash", "-euc", `
		[ ! -d "$1" ] || exit 0
		rm -rf "$1.new"
		mmdebstrap --quiet --variant=minbase --include="$2" --keyring="$3" "$4" "$1.new" $5
		mv "$1.new" "$1"
	`, "debian13", root, packages, keyring, suite, mirror())
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	return root, nil
}

// mirror is where apt gets Debian's main archive from, "" to let mmdebstrap choose.
func mirror() string {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		if label, uri, _ := strings.Cut(strings.TrimSpace(line), " "); label == "Debian" {
			return uri
		}
	}
	return ""
}

// Build compiles a program of this module, such as "./internal/probe/cmd/probe", into dir, without cgo, so that it runs on
// any root.
func Build(dir, pkg string) (string, error) {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	exe := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", exe, pkg)
	cmd.Dir = strings.TrimSpace(string(module))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return exe, nil
}
