package loader

import (
	"errors"
	"fmt"
	"os"
	"path"
)

// credentialsOfUnits has a directory for each unit of the system manager (systemd.exec(5), "Credentials").
const credentialsOfUnits = "/run/credentials"

// credential looks at the file that systemd made for a credential.
func (a *attempt) credential() error {
	dir, set := lookupEnv("CREDENTIALS_DIRECTORY")
	switch {
	case !set || dir == "":
		return fmt.Errorf("%w: CREDENTIALS_DIRECTORY is not set; does the unit have LoadCredential=%s:…?", ErrCredentialNotFound, a.ref.value)
	case !path.IsAbs(dir) || path.Clean(dir) != dir:
		return fmt.Errorf("%w: CREDENTIALS_DIRECTORY is not an absolute, clean path", ErrPath)
	}
	if unit := a.req.Subject.Unit; unit != "" && dir != path.Join(credentialsOfUnits, unit) {
		return fmt.Errorf("%w: CREDENTIALS_DIRECTORY is %q, which is not that of unit %q", ErrPath, dir, unit)
	}
	if err := a.plainDirectory(dir); err != nil {
		return err
	}
	if err := a.walk(path.Join(dir, a.ref.value)); err != nil {
		return credentialAbsent(err, a.ref.value)
	}
	return nil
}

// plainDirectory refuses a credentials directory that is a symbolic link: systemd makes a directory, and who can swap a
// link could choose another. That there is none is for the walk to the credential to say.
func (a *attempt) plainDirectory(dir string) error {
	err := a.walk(dir)
	if err != nil {
		return credentialAbsent(err, a.ref.value)
	}
	link := a.target.File.FinalSymlink
	_ = a.target.Close()
	a.target, a.req.Resource.Path = nil, ""
	if link {
		return fmt.Errorf("%w: CREDENTIALS_DIRECTORY is a symbolic link", ErrPath)
	}
	return nil
}

// credentialAbsent says in systemd's words that something is not there.
func credentialAbsent(err error, name string) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: not in CREDENTIALS_DIRECTORY; does the unit have LoadCredential=%s:…?", ErrCredentialNotFound, name)
	}
	return err
}

// environment takes the length of a variable's value. The value is read when that is decided on.
func (a *attempt) environment() error {
	value, set := lookupEnv(a.ref.value)
	if !set {
		return fmt.Errorf("%w: the variable is not set", ErrNotFound)
	}
	a.l.log.Warn("a secret is in the environment, where process listings show it: move it to a file or a credential",
		"variable", a.ref.value, "service", a.l.config.Service)
	a.req.Resource.File.Size = int64(len(value))
	return nil
}

// lookupEnv ignores the environment where the kernel asks for it: a set-user-ID program must not let its caller choose
// what it loads (AT_SECURE, getauxval(3)).
func lookupEnv(name string) (string, bool) {
	if secureExecution() {
		return "", false // not covered: the kernel sets AT_SECURE for a child alone (TestSecureExecution)
	}
	return os.LookupEnv(name)
}
