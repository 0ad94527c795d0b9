package secrettest

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// CredentialsVariable is the environment variable in which systemd tells a service where its credentials are.
const CredentialsVariable = "CREDENTIALS_DIRECTORY"

// File writes content to a new file of exactly this mode, whatever the umask, in a directory of mode 0700, and returns its
// path. Both belong to the user that runs the test, and go with the test.
func File(tb testing.TB, content string, mode fs.FileMode) string {
	tb.Helper()
	dir := privateDir(tb)
	path := filepath.Join(dir, "secret")
	write(tb, path, content, mode)
	return path
}

// Credentials makes a directory as systemd makes one for LoadCredential=: a file of mode 0400 for each name, the directory
// of mode 0500. It sets $CREDENTIALS_DIRECTORY to it until the test ends, and returns its path. As with
// [testing.T.Setenv] the test cannot run in parallel with others.
func Credentials(tb testing.TB, contents map[string]string) string {
	tb.Helper()
	dir := privateDir(tb)
	for name, content := range contents {
		if name != filepath.Base(name) {
			tb.Fatalf("secrettest: credential %q is not the name of a file", name)
		}
		write(tb, filepath.Join(dir, name), content, 0o400)
	}
	chmod(tb, dir, 0o500)
	tb.Cleanup(func() { chmod(tb, dir, 0o700) }) // so that others than root can remove what is in it
	tb.Setenv(CredentialsVariable, dir)
	return dir
}

// privateDir returns a directory with a real path, since a link on the way is a finding of its own to a loader.
func privateDir(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	if err != nil {
		tb.Fatalf("secrettest: %v", err)
	}
	dir = filepath.Join(dir, "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatalf("secrettest: %v", err)
	}
	return dir
}

func write(tb testing.TB, path, content string, mode fs.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatalf("secrettest: %v", err)
	}
	chmod(tb, path, mode)
}

func chmod(tb testing.TB, path string, mode fs.FileMode) {
	tb.Helper()
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatalf("secrettest: %v", err)
	}
}
