package unitcorpus

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/internal/asnobody"
)

// packages are small ones with many services.
const packages = "apache2 bind9 chrony cockpit-ws cups-daemon dnsmasq libvirt-daemon-system lvm2 mdadm multipath-tools nfs-common " +
	"nfs-kernel-server open-iscsi openssh-server postfix postgresql-common redis-server samba systemd-container systemd-homed " +
	"systemd-resolved systemd-timesyncd unbound wpasupplicant xrdp"

// Debian lists the services in archives of Debian's packages, as [Installed] does. The archives are fetched by apt-get and
// kept in the user's cache directory. Where that is not possible it says so in a line, and fails the test under CI=true.
func Debian(t testing.TB, prefix string, keep ...string) []Case {
	t.Helper()
	archives, err := download(t.Context())
	if err != nil {
		asnobody.NotRun(t, fmt.Sprintf("install apt and dpkg, with a mirror in reach: %v", err))
		return nil
	}
	units := map[string]string{}
	for _, a := range archives {
		if err := services(t.Context(), a, units); err != nil {
			t.Fatalf("%s: %v", a, err)
		}
	}
	return cases(units, prefix, keep)
}

// download fetches the archives that are not in the cache.
func download(ctx context.Context) ([]string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "secrets-management", "test-packages")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// Test programs of several packages may come here at the same time.
	//nolint:gosec // G204: a script of its own, with the cache directory
	cmd := exec.CommandContext(ctx, "flock", dir+".lock", "bash", "-euc", `
		cd "$1"
		missing=
		for p in $2; do
			set -- "$1" "$2" "$p"_*.deb
			[ -e "$3" ] || missing="$missing $p"
		done
		[ -z "$missing" ] || apt-get download -qq -o APT::Sandbox::User=root $missing
	`, "download", dir, packages)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("apt-get download: %w\n%s", err, out)
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// services reads the service units of an archive.
func services(ctx context.Context, archive string, units map[string]string) error {
	content, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", archive).Output() //nolint:gosec // G204: a file of the cache
	if err != nil {
		return fmt.Errorf("dpkg-deb: %w", err)
	}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || !strings.HasSuffix(h.Name, ".service") || !strings.Contains(h.Name, "/systemd/") {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		units[path.Base(h.Name)] = string(text)
	}
}
