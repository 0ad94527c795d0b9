package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/keyfile"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy/sign"
)

// readKey reads the key and what it is encrypted under.
func (s *signing) readKey(cmd *cobra.Command) (*sign.Key, error) {
	file, err := keyfile.Load(cmd.Context(), s.key)
	if err != nil {
		return nil, keyFailure("key", s.key, err)
	}
	defer file.Close()
	needs := false
	err = file.Use(func(b []byte) error {
		needs = sign.NeedsPassword(b)
		return nil
	})
	if err != nil {
		return nil, keyFailure("key", s.key, err)
	}
	password := ""
	switch {
	case needs:
		if password, err = passphrase(cmd, s.passphrase, "passphrase of "+report.Text(s.key)); err != nil {
			return nil, err
		}
	case s.passphrase != "":
		return nil, usage("leave --passphrase-file out", "key: %s is not encrypted", s.key)
	}
	var key *sign.Key
	err = file.Use(func(b []byte) (err error) {
		key, err = sign.ParseKey(b, password)
		return err
	})
	if err != nil {
		return nil, usage("is it a key of minisign -G or of policy keygen, and the passphrase right?", "key: %s: %w", s.key, sign.ErrKey)
	}
	return key, nil
}

// passphrase takes a passphrase from a file or from the terminal. Its copy for the key derivation is in ordinary memory.
func passphrase(cmd *cobra.Command, file, prompt string) (string, error) {
	if file == "" {
		text, err := keyfile.Ask(cmd.Context(), cmd.InOrStdin(), prompt)
		if err != nil {
			return "", usage("--passphrase-file names a file of mode 0600 with it", "passphrase: %w", err)
		}
		defer clear(text)
		return string(text), nil
	}
	s, err := keyfile.Load(cmd.Context(), file)
	if err != nil {
		return "", keyFailure("passphrase", file, err)
	}
	defer s.Close()
	text := ""
	err = s.Use(func(b []byte) error {
		text = string(b)
		return nil
	})
	if err != nil {
		return "", keyFailure("passphrase", file, err)
	}
	return text, nil
}

// keyFailure says what keeps a file from being taken, with the step that mends most of it.
func keyFailure(what, file string, err error) error {
	hint := "it has to be a plain file of your own, of mode 0600, in folders that nobody else may write to; name it without links"
	switch {
	case errors.Is(err, loader.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		hint = "secretcheck policy keygen makes a key"
		err = fmt.Errorf("%s: no such file", file)
	case errors.Is(err, loader.ErrPermissionsTooOpen):
		if word, ok := report.ShellWord(file); ok {
			hint = "chmod 600 " + word
		}
	}
	return usage(hint, "%s: %w", what, err)
}
