package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/report"
	"github.com/llorch/secrets-management/policy"
)

// signing is what policy sign was asked to do.
type signing struct {
	file, key, passphrase, name, until string
	revision                           uint64
	out                                outputs
}

func newPolicySign() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "sign a bundle, for services that verify theirs",
		Example: `  secretcheck policy sign policy.tar.gz --key minisign.key --name llorch \
    --revision 7 --not-after 2030-01-31`,
		Long: `Write FILE.minisig, a minisign signature over the bundle that says which policy
it is, its revision and when it ends. A bundle that no service could open is not
signed, nor is one whose revision is not above that of the signature before. The
key is read as services load secrets: a regular file that nobody else can read
or replace. Its passphrase is asked for on the terminal.

exit codes: 5 policy error, 4 bad usage or key, 0 signed`,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.valid(args); err != nil {
				return err
			}
			return s.do(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&s.key, "key", "", "sign with the secret key in `FILE`, of minisign -G or policy keygen")
	flags.StringVar(&s.passphrase, "passphrase-file", "", "read the passphrase of the key from `FILE`, of mode 0600")
	flags.StringVar(&s.name, "name", "", "say that this is policy `NAME`, as services are configured")
	flags.Uint64Var(&s.revision, "revision", 0, "say that this is revision `N`, from 1; the higher replaces the lower")
	flags.StringVar(&s.until, "not-after", "", "say that it ends at `TIME`: 2030-01-31, 2030-01-31T12:00:00Z, or 90d from now")
	s.out.register(flags, formatNames)
	return cmd
}

func (s *signing) valid(args []string) error {
	const hint = "secretcheck policy sign FILE --key FILE --name NAME --revision N --not-after TIME"
	switch {
	case len(args) != 1:
		return usage(hint, "policy sign takes one bundle")
	case s.key == "":
		return usage(hint, "no key to sign with")
	}
	s.file = args[0]
	return s.out.valid()
}

// do signs what services would take, and checks it as they will.
func (s *signing) do(cmd *cobra.Command) error {
	archive, bundle, err := readBundle(cmd.Context(), s.file)
	if err != nil {
		return err
	}
	statement, err := s.statement(bundle)
	if err != nil {
		return err
	}
	key, err := s.readKey(cmd)
	if err != nil {
		return err
	}
	if err := s.follows(archive, key.Public(), statement); err != nil {
		return err
	}
	signature, err := key.Sign(archive, statement)
	if err != nil {
		return usage("secretcheck policy keygen makes a key", "sign: %w", err)
	}
	v := policy.Verifier{Keys: []policy.PublicKey{key.Public()}, Name: statement.Name, MinRevision: statement.Revision}
	if _, err := v.Verify(archive, signature); err != nil {
		return &failure{exitPolicy, fmt.Errorf("sign: no service would take it: %w", err), "build the bundle again: secretcheck policy build DIR -o FILE"}
	}
	target := s.file + policy.SignatureSuffix
	if err := replaceFile(target, signature, 0o644); err != nil {
		return usage(fileHint, "output: %w", short(err))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "signed %s: key %s\n", report.Text(target), key.Public().ID())
	return s.out.writeSigned(cmd.OutOrStdout(), newSigned(s.file, archive, key.Public(), statement))
}

// readBundle reads a bundle that services can open.
func readBundle(ctx context.Context, file string) ([]byte, *policy.Bundle, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, nil, usage("secretcheck policy build makes one", "bundle: %w", short(err))
	case !info.Mode().IsRegular():
		return nil, nil, usage("secretcheck policy build makes one", "bundle: %s: not a regular file", file)
	}
	archive, err := readBounded(file, maxBundle)
	if err != nil {
		return nil, nil, usage("secretcheck policy build DIR -o FILE makes a bundle", "bundle: %w", short(err))
	}
	bundle, err := policy.ReadBundle(archive)
	if err != nil {
		return nil, nil, &failure{exitPolicy, fmt.Errorf("bundle: %s: %w", file, err), bundleHint(archive, file)}
	}
	return archive, bundle, tryOut(ctx, bundle)
}

// statement is what the signature will say.
func (s *signing) statement(b *policy.Bundle) (policy.Statement, error) {
	name := s.name
	if name == "" {
		name = b.Manifest.Metadata.Name
	}
	switch {
	case name == "":
		return policy.Statement{}, usage("add --name, which services have in policy.Verifier.Name", "no name for the policy")
	case b.Manifest.Metadata.Name != "" && b.Manifest.Metadata.Name != name:
		return policy.Statement{}, usage("name the policy as the bundle does, or build it again", "name: the bundle says that it is policy %q, not %q", b.Manifest.Metadata.Name, name)
	case s.revision == 0:
		return policy.Statement{}, usage(s.nextRevision(name), "no revision")
	case s.until == "":
		return policy.Statement{}, usage("add --not-after; after it, services refuse to load: leave time for the next revision", "no time at which the policy ends")
	}
	notAfter, err := parseEnd(s.until, time.Now())
	if err != nil {
		return policy.Statement{}, usage("--not-after takes 2030-01-31, 2030-01-31T12:00:00Z, or 90d from now", "not-after: %w", err)
	}
	statement := policy.Statement{Name: name, Revision: s.revision, NotAfter: notAfter}
	if _, err := statement.MarshalText(); err != nil {
		return policy.Statement{}, usage("a name has 1 to 64 of a-z, 0-9, dot, underscore and hyphen", "name %q or time cannot be signed", name)
	}
	return statement, nil
}

func (s *signing) nextRevision(name string) string {
	if last := s.before(); last.Name == name {
		return fmt.Sprintf("the signature beside it is of revision %d: --revision %d", last.Revision, last.Revision+1)
	}
	return "add --revision, one above the last that was signed; the first is 1"
}

// parseEnd reads a time in UTC, a day, or days from now. What is over has no use.
func parseEnd(text string, now time.Time) (time.Time, error) {
	var end time.Time
	if count, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(count, 10, 16)
		if err != nil || n == 0 {
			return end, fmt.Errorf("%q is no number of days", text)
		}
		return now.UTC().Truncate(time.Second).AddDate(0, 0, int(n)), nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04:05Z"} {
		if t, err := time.Parse(layout, text); err == nil {
			end = t
		}
	}
	switch {
	case end.IsZero():
		return end, fmt.Errorf("%q is no time", text)
	case !end.After(now):
		return end, fmt.Errorf("%s is over", end.Format(time.RFC3339))
	}
	return end, nil
}

// maxSignature bounds a signature file, in bytes; minisign's comments have at most 9 KiB.
const maxSignature = 16 << 10

// before is what the signature beside the bundle says. Nothing of it is verified: it warns of a mistake, no more.
func (s *signing) before() policy.Statement {
	var last policy.Statement
	raw, err := readBounded(s.file+policy.SignatureSuffix, maxSignature)
	if err != nil {
		return last
	}
	for line := range bytes.Lines(raw) {
		if comment, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("trusted comment: ")); ok {
			_ = last.UnmarshalText(comment) // zero where it is no statement
		}
	}
	return last
}

// follows refuses a revision that services would not take after the last one: a lower one, or the same of another bundle.
func (s *signing) follows(archive []byte, key policy.PublicKey, next policy.Statement) error {
	last := s.before()
	if last.Name != next.Name || next.Revision > last.Revision {
		return nil
	}
	old, err := readBounded(s.file+policy.SignatureSuffix, maxSignature)
	if err == nil && next.Revision == last.Revision {
		v := policy.Verifier{Keys: []policy.PublicKey{key}, Name: last.Name, MinRevision: last.Revision}
		if _, err = v.Verify(archive, old); err == nil || errors.Is(err, policy.ErrExpired) {
			return nil // the same bundle, once more: perhaps for a later end
		}
	}
	return usage(fmt.Sprintf("--revision %d, or remove %s if it was never in force", last.Revision+1, s.file+policy.SignatureSuffix),
		"revision %d: the signature beside the bundle is of revision %d, and of another bundle", next.Revision, last.Revision)
}

// signed is the JSON form of what a signature says, an interface.
type signed struct {
	SchemaVersion int    `json:"schema_version"`
	Bundle        string `json:"bundle"`
	SHA256        string `json:"sha256"` // of the bundle
	Signature     string `json:"signature"`
	KeyID         string `json:"key_id"`
	Name          string `json:"name"`
	Revision      uint64 `json:"revision"`
	NotAfter      string `json:"not_after"`
}

func newSigned(file string, archive []byte, key policy.PublicKey, s policy.Statement) signed {
	return signed{
		1, file, fmt.Sprintf("%x", sha256.Sum256(archive)), file + policy.SignatureSuffix, key.ID(),
		s.Name, s.Revision, s.NotAfter.UTC().Format(time.RFC3339),
	}
}

func (o *outputs) writeSigned(stdout io.Writer, s signed) error {
	return o.writeEither(stdout, s, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%s: policy %s, revision %d, until %s\n",
			report.Text(s.Bundle), strings.TrimSpace(report.Text(s.Name)), s.Revision, s.NotAfter)
		return err
	})
}
