package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/llorch/secrets-management/internal/asnobody"
	"github.com/llorch/secrets-management/policy"
)

// nginxConfig serves a folder as nginx does by itself, compresses whatever a client would take compressed, and has a place
// that it is redirected from.
const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	log_format short "$uri $status";
	access_log %[1]s/access.log short;
	gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;
	client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server {
		listen %[2]s;
		root %[1]s/www;
		location /moved/ { rewrite ^/moved(.*)$ $1 permanent; }
		location /busy/ { add_header Retry-After 7 always; return 503; }
	}
}
`

// nginx runs one that serves the files of a folder, and returns its address and the folder.
func nginx(t *testing.T) (address, dir string) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // where Debian has it, which is not in everybody's PATH
	}
	if _, err := os.Stat(path); err != nil || runtime.GOOS != "linux" {
		asnobody.NotRun(t, "install nginx, which this test asks for bundles")
		return "", ""
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address = l.Addr().String()
	must(t, l.Close())
	dir = t.TempDir()
	must(t, os.MkdirAll(dir+"/www/p", 0o755), os.WriteFile(dir+"/conf", fmt.Appendf(nil, nginxConfig, dir, address), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, path, "-c", dir+"/conf", "-p", dir)
	must(t, cmd.Start())
	t.Cleanup(func() { cancel(); cmd.Wait() })
	for range 500 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return "http://" + address, dir
		}
		time.Sleep(10 * time.Millisecond)
	}
	log, _ := os.ReadFile(dir + "/error.log")
	t.Fatalf("nginx does not come up: %s", log)
	return "", ""
}

// TestNginx: POL-3519. Debian's nginx as it comes is a server that will do.
func TestNginx(t *testing.T) {
	s := newOffline(t)
	address, dir := nginx(t)
	if address == "" {
		return
	}
	publish := func(revision uint64, modified time.Time) {
		t.Helper()
		archive, signature := s.pair(revision)
		for name, content := range map[string][]byte{bundlePath: archive, signaturePath: signature} {
			must(t, os.WriteFile(dir+"/new", content, 0o644), os.Chtimes(dir+"/new", modified, modified), os.Rename(dir+"/new", dir+"/www"+name))
		}
	}
	asked := func(want string) { // nginx writes its log a moment after it answers
		t.Helper()
		var got string
		for end := time.Now().Add(5 * time.Second); got != want && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			log, err := os.ReadFile(dir + "/access.log")
			must(t, err)
			got = strings.ReplaceAll(string(log), bundlePath, "")
		}
		if got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
		must(t, os.Truncate(dir+"/access.log", 0))
	}
	ago := time.Now().Add(-time.Hour)
	publish(1, ago)
	c := s.config()
	c.URL = address + bundlePath
	w := begin(t, c)
	at(t, w.Status(), 1, nil)
	asked(".minisig 200\n 200\n")
	at(t, again(t, w), 1, nil)
	asked(".minisig 304\n")
	publish(2, ago.Add(time.Minute))
	at(t, again(t, w), 2, nil)
	asked(".minisig 200\n 200\n")
	t.Run("POL-3505 two within a second, of the same length", func(t *testing.T) {
		now := time.Now()
		publish(3, now)
		at(t, again(t, w), 3, nil)
		publish(4, now) // nginx gives it the ETag of the one before
		at(t, again(t, w), 4, nil)
	})
	t.Run("POL-3510 moved", func(t *testing.T) {
		c := restarted(t, c)
		c.URL = address + "/moved" + bundlePath
		at(t, begin(t, c).Status(), 4, nil)
	})
	t.Run("POL-3512 busy", func(t *testing.T) {
		c := restarted(t, c)
		c.URL = address + "/busy" + bundlePath
		now := begin(t, c).Status()
		at(t, now, 4, ErrServer)
		var asked *retryError
		if !errors.As(now.Err, &asked) || asked.after != 7*time.Second {
			t.Errorf("%v, %+v", now.Err, asked)
		}
	})
	t.Run("gone", func(t *testing.T) {
		must(t, os.RemoveAll(filepath.Join(dir, "www")))
		at(t, again(t, w), 4, ErrServer)
		must(t, os.MkdirAll(dir+"/www/p", 0o755))
		publish(3, ago)
		at(t, again(t, w), 4, policy.ErrRolledBack)
		publish(5, ago)
		at(t, again(t, w), 5, nil)
	})
}
