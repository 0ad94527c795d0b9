package main

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/keyfile"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy/sign"
)

func newPolicyKeygen() *cobra.Command {
	var out, file string
	var done outputs
	var bare bool
	cmd := &cobra.Command{
		Use:     "keygen -o FILE",
		Short:   "make a key that signs policies",
		Example: `  secretcheck policy keygen -o minisign.key`,
		Long: `Write a secret key to FILE, of mode 0600 and encrypted under a passphrase that is
asked for twice, and the public one to FILE.pub. Both are minisign's, and those of
minisign -G will do as well. What is there already is not overwritten.

exit codes: 4 bad usage, 0 the key is made`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 || out == "":
				return usage("secretcheck policy keygen -o FILE", "no file to write the key to")
			case bare && file != "":
				return usage("leave one of them out", "--no-passphrase contradicts --passphrase-file")
			}
			if err := done.valid(); err != nil {
				return err
			}
			return keygen(cmd, out, file, bare, &done)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&out, "output", "o", "", "write the secret key to `FILE`, and the public one to FILE.pub")
	flags.StringVar(&file, "passphrase-file", "", "read the passphrase from `FILE`, of mode 0600")
	flags.BoolVar(&bare, "no-passphrase", false, "leave the key unencrypted, for a store that protects it itself")
	done.registerOne(flags)
	return cmd
}

// keygenReport is the JSON form, an interface.
type keygenReport struct {
	SchemaVersion int    `json:"schema_version"`
	SecretKey     string `json:"secret_key"` // names of files
	PublicKey     string `json:"public_key"`
}

func keygen(cmd *cobra.Command, out, file string, bare bool, done *outputs) error {
	for _, name := range []string{out, out + ".pub"} { // before anybody types
		if _, err := os.Lstat(name); err == nil {
			return usage("name another file, or move that one away", "output: %s: file exists", name)
		}
	}
	password, err := newPassphrase(cmd, file, bare)
	if err != nil {
		return err
	}
	secretFile, publicFile, err := sign.Generate(password)
	if err != nil {
		return usage("try again with another passphrase", "keygen: %w", err)
	}
	defer clear(secretFile)
	if err := createFile(out, secretFile, 0o600); err != nil {
		return usage(fileHint, "output: %w", short(err))
	}
	if err := createFile(out+".pub", publicFile, 0o644); err != nil {
		return usage(fileHint, "output: %w", errors.Join(short(err), os.Remove(out))) // half a pair is of no use
	}
	return done.writeOne(cmd, fmt.Sprintf("wrote %[1]s and %[1]s.pub; services get the second", report.Text(out)),
		keygenReport{1, out, out + ".pub"})
}

// newPassphrase asks twice: a mistake would lock the key for good.
func newPassphrase(cmd *cobra.Command, file string, bare bool) (string, error) {
	if bare {
		return "", nil
	}
	if file != "" {
		return passphrase(cmd, file, "")
	}
	first, err := passphrase(cmd, "", "passphrase for the new key")
	if err != nil {
		return "", err
	}
	again, err := keyfile.Ask(cmd.Context(), cmd.InOrStdin(), "the same once more")
	if err != nil {
		return "", usage("run it on a terminal, or add --passphrase-file FILE", "passphrase: %w", err)
	}
	defer clear(again)
	if subtle.ConstantTimeCompare([]byte(first), again) != 1 {
		return "", usage("try again; nothing was written", "passphrase: the two differ")
	}
	return first, nil
}

// createFile writes a file that must not be there yet; what could not be written whole is taken away again.
func createFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
