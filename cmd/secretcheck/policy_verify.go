package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

// verifying is what policy verify was asked to do.
type verifying struct {
	file, name string
	keys       []string
	minimum    uint64
	out        outputs
}

func newPolicyVerify() *cobra.Command {
	var v verifying
	cmd := &cobra.Command{
		Use:     "verify FILE",
		Short:   "check a signed bundle as services do",
		Example: `  secretcheck policy verify policy.tar.gz --public-key minisign.pub --name llorch --min-revision 7`,
		Long: `Check the signature beside a bundle, FILE.minisig, by the code that services run:
the key, which policy it is, its revision, whether it has ended; then open the
bundle. Nothing of it is recorded.

exit codes: 5 no service could open it, 4 bad usage, 1 services refuse it,
0 services take it`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := v.valid(args); err != nil {
				return err
			}
			return v.do(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&v.keys, "public-key", nil, "take signatures of `KEY|FILE`; can be repeated")
	flags.StringVar(&v.name, "name", "", "take only policy `NAME`")
	flags.Uint64Var(&v.minimum, "min-revision", 1, "take only revision `N` and above")
	v.out.register(flags, formatNames)
	return cmd
}

func (v *verifying) valid(args []string) error {
	const hint = "secretcheck policy verify FILE --public-key KEY|FILE --name NAME"
	switch {
	case len(args) != 1:
		return usage(hint, "policy verify takes one bundle")
	case len(v.keys) == 0:
		return usage(hint, "no public key to verify with")
	case v.name == "":
		return usage(hint, "no name of the policy")
	case v.minimum == 0:
		return usage("--min-revision is at least 1", "without a least revision nothing would keep an old bundle out")
	}
	v.file = args[0]
	return v.out.valid()
}

// do verifies what it has read once, so that nothing can be put in its place meanwhile.
func (v *verifying) do(cmd *cobra.Command) error {
	keys, err := publicKeys(v.keys)
	if err != nil {
		return err
	}
	archive, err := readBounded(v.file, maxBundle)
	if err != nil {
		return usage("name the bundle; its signature lies beside it as BUNDLE.minisig", "bundle: %w", short(err))
	}
	signature, err := readBounded(v.file+policy.SignatureSuffix, maxSignature)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usage("secretcheck policy sign makes it", "signature: %w", short(err))
	}
	key, bundle, err := v.verify(keys, archive, signature)
	if err != nil {
		return &failure{exitDenied, fmt.Errorf("verify: %s: %w", v.file, err), verifyHint(err)}
	}
	if err := tryOut(cmd.Context(), bundle); err != nil {
		return err
	}
	statement := bundle.Statement()
	fmt.Fprintf(cmd.ErrOrStderr(), "verified %s: services take it for another %s\n",
		report.Text(v.file), remaining(time.Until(statement.NotAfter)))
	return v.out.writeSigned(cmd.OutOrStdout(), newSigned(v.file, archive, key, statement))
}

// verify tries one key after the other, to tell whose signature it is.
func (v *verifying) verify(keys []policy.PublicKey, archive, signature []byte) (policy.PublicKey, *policy.Bundle, error) {
	var last error
	for _, k := range keys {
		b, err := policy.Verifier{Keys: []policy.PublicKey{k}, Name: v.name, MinRevision: v.minimum}.Verify(archive, signature)
		if err == nil || !errors.Is(err, policy.ErrWrongKey) {
			return k, b, err
		}
		last = err
	}
	return policy.PublicKey{}, nil, last
}

// verifyHint is the step that mends a refusal.
func verifyHint(err error) string {
	switch {
	case errors.Is(err, policy.ErrUnsigned):
		return "secretcheck policy sign signs it"
	case errors.Is(err, policy.ErrExpired), errors.Is(err, policy.ErrRolledBack):
		return "sign it again, with a higher revision and a later end: secretcheck policy sign"
	case errors.Is(err, policy.ErrSignature):
		return "get bundle and signature again, from where they were made"
	}
	return "trust the key that signed it with --public-key KEY, if it is one to trust"
}

// publicKeys reads keys that are written out, or lie in files.
func publicKeys(list []string) ([]policy.PublicKey, error) {
	var keys []policy.PublicKey
	for _, text := range list {
		k, err := policy.ParsePublicKey(text)
		if err != nil {
			raw, rerr := readBounded(text, 4<<10)
			if rerr != nil {
				return nil, usage("--public-key takes what minisign -G printed, or its .pub file", "public key: %w", short(rerr))
			}
			if k, err = policy.ParsePublicKey(string(raw)); err != nil {
				return nil, usage("--public-key takes what minisign -G printed, or its .pub file", "%s: %w", text, err)
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// remaining tells a time in days, or in hours where those are few.
func remaining(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
