package policy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/sign"
)

// refusals are all the ways in which a bundle is refused. A test that expects one makes sure that it is no other.
var refusals = []error{
	policy.ErrNoKey, policy.ErrUnsigned, policy.ErrSignatureFormat, policy.ErrLegacySignature, policy.ErrWrongKey,
	policy.ErrSignature, policy.ErrStatement, policy.ErrWrongName, policy.ErrExpired, policy.ErrRolledBack, policy.ErrState,
	policy.ErrOversized, policy.ErrBomb, policy.ErrEscape, policy.ErrDuplicate,
}

func refusedAs(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	for _, other := range refusals {
		if other != want && errors.Is(err, other) {
			t.Errorf("error %v matches %q as well", err, other)
		}
	}
}

// signer is who signs bundles in tests, and how what they sign is verified.
type signer struct {
	t   testing.TB
	raw minisign.PrivateKey
	key *sign.Key
	v   policy.Verifier
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	_, raw, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := raw.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.ParseKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t, raw, key, policy.Verifier{
		Keys: []policy.PublicKey{key.Public()}, Name: "llorch", StateFile: stateFile(t), CreateState: true,
	}}
}

// stateFile is a place for one that only we can write to.
func stateFile(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "state")
}

func statement(revision uint64) policy.Statement {
	return policy.Statement{Name: "llorch", Revision: revision, NotAfter: time.Now().Add(time.Hour)}
}

func (s *signer) sign(archive []byte, st policy.Statement) []byte {
	s.t.Helper()
	signature, err := s.key.Sign(archive, st)
	if err != nil {
		s.t.Fatal(err)
	}
	return signature
}

// bundle signs the default rules over data and verifies them.
func (s *signer) bundle(revision uint64, data string) *policy.Bundle {
	s.t.Helper()
	archive := marshal(s.t, bundleOf(s.t, data))
	b, err := s.v.Verify(archive, s.sign(archive, statement(revision)))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func bundleOf(t testing.TB, data string) *policy.Bundle {
	t.Helper()
	b, err := policy.DefaultBundle([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	b.Manifest.Metadata.Name = "" // as `secretcheck policy build` leaves it
	return b
}

func marshal(t testing.TB, b *policy.Bundle) []byte {
	t.Helper()
	archive, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// patient lets decisions and activations take their time on a busy machine.
var patient = policy.Options{Interpreter: true, Limits: policy.Limits{Deadline: 10 * time.Second, LoadingBudget: time.Minute}}

func openSigned(t testing.TB, b *policy.Bundle) *policy.Engine {
	t.Helper()
	e, err := policy.Open(t.Context(), b, patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// archiveOf packs entries as they come, valid or not.
func archiveOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, name := range names {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// bomb unpacks to more than any bundle has.
func bomb(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	chunk := make([]byte, 1<<20)
	for range 97 {
		if _, err := zw.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestEachRefusalHasItsError(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	good := marshal(t, bundleOf(t, grants))
	bomb := bomb(t)
	st := statement(3)
	changed := func(raw []byte, from, to string) []byte {
		if !bytes.Contains(raw, []byte(from)) {
			t.Fatalf("no %q in %q", from, raw)
		}
		return bytes.Replace(raw, []byte(from), []byte(to), 1)
	}
	with := func(change func(*policy.Verifier)) policy.Verifier {
		v := s.v
		change(&v)
		return v
	}
	recorded := with(func(v *policy.Verifier) { v.StateFile = stateFile(t) })
	if err := os.WriteFile(recorded.StateFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		v                  policy.Verifier
		archive, signature []byte
		want               error
	}{
		"POL-5001 the zero verifier":    {policy.Verifier{}, good, s.sign(good, st), policy.ErrNoKey},
		"POL-5001 no key":               {with(func(v *policy.Verifier) { v.Keys = nil }), good, s.sign(good, st), policy.ErrNoKey},
		"POL-5001 a zero key":           {with(func(v *policy.Verifier) { v.Keys = make([]policy.PublicKey, 1) }), good, s.sign(good, st), policy.ErrWrongKey},
		"POL-5001 unsigned":             {s.v, good, nil, policy.ErrUnsigned},
		"POL-5001 another's signature":  {s.v, good, other.sign(good, st), policy.ErrWrongKey},
		"POL-5001 altered":              {s.v, append(bytes.Clone(good), 0), s.sign(good, st), policy.ErrSignature},
		"POL-5001 another bundle's":     {s.v, good, s.sign([]byte("x"), st), policy.ErrSignature},
		"POL-5001 an altered comment":   {s.v, good, changed(s.sign(good, st), "revision=3", "revision=4"), policy.ErrSignature},
		"POL-5001 legacy":               {s.v, good, s.legacy(good, st), policy.ErrLegacySignature},
		"POL-5001 not a signature":      {s.v, good, []byte("yes\n"), policy.ErrSignatureFormat},
		"POL-5001 carriage returns":     {s.v, good, bytes.ReplaceAll(s.sign(good, st), []byte("\n"), []byte("\r\n")), policy.ErrSignatureFormat},
		"POL-5001 cut":                  {s.v, good, bytes.TrimSuffix(s.sign(good, st), []byte("\n")), policy.ErrSignatureFormat},
		"POL-5001 with a tail":          {s.v, good, append(s.sign(good, st), '\n'), policy.ErrSignatureFormat},
		"POL-5001 too long":             {s.v, good, changed(s.sign(good, st), "untrusted comment: ", "untrusted comment: "+strings.Repeat("x", 16<<10)), policy.ErrSignatureFormat},
		"POL-5002 no statement":         {s.v, good, s.comment(good, "timestamp:1700000000"), policy.ErrStatement},
		"POL-5004 another name":         {s.v, good, s.sign(good, policy.Statement{Name: "staging", Revision: 3, NotAfter: st.NotAfter}), policy.ErrWrongName},
		"POL-5004 another inside":       {s.v, renamed(t, "staging"), s.sign(renamed(t, "staging"), st), policy.ErrWrongName},
		"POL-5004 expired":              {s.v, good, s.sign(good, policy.Statement{Name: "llorch", Revision: 3, NotAfter: time.Now().Add(-2 * time.Second)}), policy.ErrExpired},
		"POL-5004 below MinRevision":    {with(func(v *policy.Verifier) { v.MinRevision = 4 }), good, s.sign(good, st), policy.ErrRolledBack},
		"POL-5006 no state":             {with(func(v *policy.Verifier) { v.CreateState = false }), good, s.sign(good, st), policy.ErrState},
		"POL-5006 an empty state":       {recorded, good, s.sign(good, st), policy.ErrState},
		"POL-5006 nothing keeps it out": {with(func(v *policy.Verifier) { v.StateFile = "" }), good, s.sign(good, st), policy.ErrState},
		"POL-5008 oversized":            {s.v, make([]byte, 96<<20+1), s.sign(good, st), policy.ErrOversized},
		"POL-5008 a bomb":               {s.v, bomb, s.sign(bomb, st), policy.ErrBomb},
		"POL-5008 a path that leads out": {
			s.v, archiveOf(t, "../policy.wasm"), s.sign(archiveOf(t, "../policy.wasm"), st), policy.ErrEscape,
		},
		"POL-5008 an entry twice": {
			s.v, archiveOf(t, "a.rego", "/a.rego"), s.sign(archiveOf(t, "a.rego", "/a.rego"), st), policy.ErrDuplicate,
		},
		// Nothing of an archive is looked at before its signature is good.
		"POL-5001 a bomb of another's":   {s.v, bomb, other.sign(bomb, st), policy.ErrWrongKey},
		"POL-5001 an altered bomb":       {s.v, append(bytes.Clone(bomb), 0), s.sign(bomb, st), policy.ErrSignature},
		"POL-5001 no archive at all":     {s.v, []byte("x"), s.sign([]byte("y"), st), policy.ErrSignature},
		"POL-5002 a bomb, no statement":  {s.v, bomb, s.comment(bomb, "x"), policy.ErrStatement},
		"POL-5004 an expired bomb":       {s.v, bomb, s.sign(bomb, policy.Statement{Name: "llorch", NotAfter: time.Unix(0, 0)}), policy.ErrExpired},
		"POL-5004 a configuration's own": {with(func(v *policy.Verifier) { v.Name = "No Name" }), good, s.sign(good, st), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := c.v.Verify(c.archive, c.signature)
			if b != nil || err == nil {
				t.Fatal("accepted")
			}
			if c.want != nil {
				refusedAs(t, err, c.want)
			}
		})
	}
	t.Run("POL-5001 control", func(t *testing.T) {
		v := with(func(v *policy.Verifier) { v.Keys = append(other.v.Keys, v.Keys...) }) // while keys are changed there are two
		for _, signature := range [][]byte{s.sign(good, st), other.sign(good, st)} {
			b, err := v.Verify(good, signature)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Statement(); got.Name != st.Name || got.Revision != 3 || !got.NotAfter.Equal(st.NotAfter.Truncate(time.Second)) {
				t.Errorf("statement %+v", got)
			}
		}
	})
}

// legacy signs without a hash.
func (s *signer) legacy(archive []byte, st policy.Statement) []byte {
	s.t.Helper()
	comment, err := st.MarshalText()
	if err != nil {
		s.t.Fatal(err)
	}
	return minisign.SignWithComments(s.raw, archive, string(comment), "x")
}

// comment signs with a comment of any form.
func (s *signer) comment(archive []byte, comment string) []byte {
	s.t.Helper()
	r := minisign.NewReader(bytes.NewReader(archive))
	if _, err := io.Copy(io.Discard, r); err != nil {
		s.t.Fatal(err)
	}
	return r.SignWithComments(s.raw, comment, "x")
}

func renamed(t *testing.T, name string) []byte {
	b := bundleOf(t, grants)
	b.Manifest.Metadata.Name = name
	return marshal(t, b)
}

// TestNoAlteredByteIsTaken: of an archive, its signature and its public key no bit can change.
func TestNoAlteredByteIsTaken(t *testing.T) {
	s := newSigner(t)
	archive := marshal(t, &policy.Bundle{Wasm: []byte("w"), Manifest: policy.NewManifest("llorch", "r")})
	signature := s.sign(archive, statement(1))
	if _, err := s.v.Verify(archive, signature); err != nil {
		t.Fatal(err)
	}
	untrusted := bytes.IndexByte(signature, '\n')
	t.Run("POL-5001 of the archive", rapid.MakeCheck(func(t *rapid.T) {
		bad := bytes.Clone(archive)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if b, err := s.v.Verify(bad, signature); b != nil || !errors.Is(err, policy.ErrSignature) {
			t.Fatalf("taken: %v", err)
		}
	}))
	t.Run("POL-5001 of the signature", func(t *testing.T) {
		for at := untrusted; at < len(signature); at++ {
			for bit := range 8 {
				bad := bytes.Clone(signature)
				bad[at] ^= 1 << bit
				if b, err := s.v.Verify(archive, bad); b != nil || err == nil {
					t.Fatalf("taken with bit %d of byte %d changed, of %q", bit, at, signature)
				}
			}
		}
	})
	t.Run("POL-5001 cut", func(t *testing.T) {
		for n := range signature {
			if b, err := s.v.Verify(archive, signature[:n]); b != nil || err == nil {
				t.Fatalf("taken with %q", signature[:n])
			}
		}
	})
	t.Run("POL-5001 of the key", func(t *testing.T) {
		text := s.key.Public().String()
		for at := range text {
			k, err := policy.ParsePublicKey(text[:at] + "A" + text[at+1:])
			if err != nil || k == s.key.Public() {
				continue
			}
			v := s.v
			v.Keys = []policy.PublicKey{k}
			if b, err := v.Verify(archive, signature); b != nil || err == nil {
				t.Fatalf("taken with the key %q", k)
			}
		}
	})
}

// TestAForgottenKeyVerifiesNothing: all zeros are a point of small order, under which anybody makes signatures that
// crypto/ed25519 takes.
func TestAForgottenKeyVerifiesNothing(t *testing.T) {
	zero := make(ed25519.PublicKey, ed25519.PublicKeySize)
	points := []struct{ first, between, last byte }{{1, 0, 0}, {0, 0, 0}, {0, 0, 0x80}, {0xec, 0xff, 0x7f}} // all of that order
	// Of the messages that make gives for a number, most are such that one of the points does as R, with S = 0.
	forge := func(message func(n int) []byte) (signature []byte, n int) {
		for n := range 100 {
			for _, p := range points {
				signature := append(bytes.Repeat([]byte{p.between}, 32), make([]byte, 32)...)
				signature[0], signature[31] = p.first, p.last
				if ed25519.Verify(zero, message(n), signature) {
					return signature, n
				}
			}
		}
		t.Fatal("POL-5001: the control does not forge")
		return nil, 0
	}
	archive := func(n int) []byte { return marshal(t, tinyPolicy(fmt.Sprintf("g-%d", n))) }
	own, n := forge(func(n int) []byte {
		sum := blake2b.Sum512(archive(n))
		return sum[:]
	})
	end := time.Now().Add(time.Hour)
	comment := func(n int) []byte {
		text, err := policy.Statement{Name: "llorch", Revision: uint64(n) + 1, NotAfter: end}.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	global, m := forge(func(n int) []byte { return append(bytes.Clone(own), comment(n)...) })
	file := fmt.Appendf(nil, "untrusted comment: \n%s\ntrusted comment: %s\n%s\n",
		base64.StdEncoding.EncodeToString(append([]byte("ED\x00\x00\x00\x00\x00\x00\x00\x00"), own...)), comment(m),
		base64.StdEncoding.EncodeToString(global))
	b, err := policy.Verifier{Keys: make([]policy.PublicKey, 1), Name: "llorch", MinRevision: 1}.Verify(archive(n), file)
	if b != nil {
		t.Error("POL-5001: taken by a key that nobody configured")
	}
	refusedAs(t, err, policy.ErrWrongKey)
}

func TestStatementGrammar(t *testing.T) {
	const good = "secrets-policy/v1 name=llorch revision=7 not_after=2030-01-31T00:00:00Z"
	var st policy.Statement
	if err := st.UnmarshalText([]byte(good)); err != nil ||
		st != (policy.Statement{Name: "llorch", Revision: 7, NotAfter: time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)}) {
		t.Fatalf("%+v, %v", st, err)
	}
	for name, text := range map[string]string{
		"empty":                "",
		"another version":      strings.Replace(good, "v1", "v2", 1),
		"another order":        "secrets-policy/v1 revision=7 name=llorch not_after=2030-01-31T00:00:00Z",
		"a field twice":        good + " not_after=2031-01-31T00:00:00Z",
		"a field more":         good + " roots=all",
		"a field less":         strings.Replace(good, " revision=7", "", 1),
		"two spaces":           strings.Replace(good, " revision", "  revision", 1),
		"a tab":                strings.Replace(good, " revision", "\trevision", 1),
		"a space before":       " " + good,
		"a space behind":       good + " ",
		"a carriage return":    good + "\r",
		"a line more":          good + "\n",
		"no name":              strings.Replace(good, "llorch", "", 1),
		"a name in capitals":   strings.Replace(good, "llorch", "Llorch", 1),
		"a name of 65":         strings.Replace(good, "llorch", strings.Repeat("a", 65), 1),
		"a name with a space":  strings.Replace(good, "llorch", "ll orch", 1),
		"a name in Unicode":    strings.Replace(good, "llorch", "llörch", 1),
		"no revision":          strings.Replace(good, "=7", "=", 1),
		"a leading zero":       strings.Replace(good, "=7", "=07", 1),
		"a sign":               strings.Replace(good, "=7", "=+7", 1),
		"a negative one":       strings.Replace(good, "=7", "=-7", 1),
		"hexadecimal":          strings.Replace(good, "=7", "=0x7", 1),
		"an underscore":        strings.Replace(good, "=7", "=1_0", 1),
		"out of range":         strings.Replace(good, "=7", "=18446744073709551616", 1),
		"another zone":         strings.Replace(good, "00Z", "00+00:00", 1),
		"no zone":              strings.Replace(good, "00Z", "00", 1),
		"a fraction":           strings.Replace(good, "00Z", "00.5Z", 1),
		"a day only":           strings.Replace(good, "T00:00:00Z", "", 1),
		"no such day":          strings.Replace(good, "01-31", "02-30", 1),
		"no such second":       strings.Replace(good, ":00Z", ":61Z", 1),
		"an hour of one digit": strings.Replace(good, "T00", "T1", 1),
		"lower case":           strings.Replace(good, "T00", "t00", 1),
	} {
		t.Run("POL-5002 "+name, func(t *testing.T) {
			var st policy.Statement
			if err := st.UnmarshalText([]byte(text)); !errors.Is(err, policy.ErrStatement) || st != (policy.Statement{}) {
				t.Errorf("%q: %+v, %v", text, st, err)
			}
		})
	}
	t.Run("POL-5002 what cannot be said is not signed", func(t *testing.T) {
		for _, st := range []policy.Statement{
			{}, {Name: "No"}, {Name: "a b", NotAfter: time.Now()}, {Name: "a", NotAfter: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		} {
			if raw, err := newSigner(t).key.Sign([]byte("x"), st); raw != nil || !errors.Is(err, policy.ErrStatement) {
				t.Errorf("%+v: %q, %v", st, raw, err)
			}
		}
	})
}

// FuzzStatement: there is one way to write each statement.
func FuzzStatement(f *testing.F) { // POL-5002
	f.Add("secrets-policy/v1 name=llorch revision=7 not_after=2030-01-31T00:00:00Z")
	f.Fuzz(func(t *testing.T, text string) {
		var st policy.Statement
		if st.UnmarshalText([]byte(text)) != nil {
			return
		}
		if again, err := st.MarshalText(); err != nil || string(again) != text {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}

// TestNothingIsAllowedAfterTheEnd: in force, remembered or not, a policy ends with its time.
func TestNothingIsAllowedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner(t)
		b := s.bundle(1, grants)
		e := openSigned(t, b)
		allows := func() bool {
			d, err := e.Decide(t.Context(), goodRequest())
			may, merr := e.MayAsk(t.Context(), goodRequest())
			if err != nil || merr != nil {
				refusedAs(t, err, policy.ErrExpired)
				refusedAs(t, merr, policy.ErrExpired)
			}
			if d.Allowed() != may || d.Info().Signed.Revision != 1 {
				t.Errorf("allowed %v, may %v, by %+v", d.Allowed(), may, d.Info())
			}
			return d.Allowed()
		}
		time.Sleep(time.Until(b.Statement().NotAfter)) // to the last moment
		for range 3 {
			if !allows() {
				t.Fatal("POL-5005: it ends too early")
			}
		}
		time.Sleep(time.Nanosecond)
		for range 3 {
			if allows() {
				t.Fatal("POL-5005: it allows after its end")
			}
		}
		if err := e.Activate(t.Context(), b); err == nil {
			t.Error("POL-5005: it is activated after its end")
		} else {
			refusedAs(t, err, policy.ErrExpired)
		}
		if err := e.Activate(t.Context(), s.bundle(2, grants)); err != nil {
			t.Fatal(err)
		}
		if d, err := e.Decide(t.Context(), goodRequest()); err != nil || !d.Allowed() {
			t.Errorf("POL-5005: the next bundle does not allow: %v", err)
		}
		e.Close()
	})
}

// TestRevisionsOutliveTheProcess: what was in force once keeps what is older out, after a restart too.
func TestRevisionsOutliveTheProcess(t *testing.T) {
	s := newSigner(t)
	archive := marshal(t, bundleOf(t, grants))
	take := func(revision uint64) error {
		b, err := s.v.Verify(archive, s.sign(archive, statement(revision)))
		if err != nil {
			return err
		}
		e, err := policy.Open(t.Context(), b, patient) // a new process
		if err != nil {
			return err
		}
		e.Close()
		return nil
	}
	s.v.CreateState = false
	refusedAs(t, take(5), policy.ErrState)
	s.v.CreateState = true
	for _, step := range []struct {
		revision uint64
		want     error
	}{{5, nil}, {5, nil}, {4, policy.ErrRolledBack}, {6, nil}, {5, policy.ErrRolledBack}} {
		if err := take(step.revision); step.want == nil && err != nil {
			t.Errorf("POL-5004 revision %d: %v", step.revision, err)
		} else if step.want != nil {
			refusedAs(t, err, step.want)
		}
		s.v.CreateState = false // only the first start may
	}
	if err := os.Remove(s.v.StateFile); err != nil {
		t.Fatal(err)
	}
	refusedAs(t, take(7), policy.ErrState)

	// What is only verified, or cannot be opened, leaves the one before able to start again.
	s.v.CreateState = true
	if err := take(7); err != nil {
		t.Fatal(err)
	}
	if _, err := s.v.Verify(archive, s.sign(archive, statement(8))); err != nil {
		t.Fatal(err)
	}
	bad := marshal(t, &policy.Bundle{Wasm: []byte("w"), Manifest: policy.NewManifest("", "bad")})
	b, err := s.v.Verify(bad, s.sign(bad, statement(9)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Open(t.Context(), b, patient); !errors.Is(err, policy.ErrBundle) {
		t.Errorf("POL-5004: %v", err)
	}
	if err := take(7); err != nil {
		t.Errorf("POL-5004: %v", err)
	}
}

// TestStateIsOutOfTheBundlesReach: no link and no other name makes one directory two.
func TestStateIsOutOfTheBundlesReach(t *testing.T) {
	s := newSigner(t)
	top := filepath.Dir(s.v.StateFile)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	archive := marshal(t, bundleOf(t, grants))
	write := func(name string) {
		must(os.MkdirAll(filepath.Dir(name), 0o700))
		must(os.WriteFile(name, archive, 0o600))
		must(os.WriteFile(name+policy.SignatureSuffix, s.sign(archive, statement(1)), 0o600))
	}
	write(top + "/bundles/p.tar.gz")
	write(top + "/bundles/..data-1/q.tar.gz")
	must(os.Mkdir(top+"/bundles/below", 0o700))
	must(os.Mkdir(top+"/elsewhere", 0o700))
	must(os.Mkdir(top+"/start", 0o700))
	must(os.MkdirAll(top+"/deep/er", 0o700))
	must(os.Symlink("../deep/er", top+"/start/step"))
	must(os.Symlink("bundles", top+"/alias"))
	must(os.Symlink("..data-1", top+"/bundles/..data"))
	for _, suffix := range []string{"", policy.SignatureSuffix} {
		must(os.Symlink("..data/q.tar.gz"+suffix, top+"/bundles/q.tar.gz"+suffix))
		must(os.Symlink("../bundles/p.tar.gz"+suffix, top+"/elsewhere/p.tar.gz"+suffix))
		must(os.Symlink("elsewhere/p.tar.gz"+suffix, top+"/p2.tar.gz"+suffix))
		must(os.Symlink("../../bundles/p.tar.gz"+suffix, top+"/deep/er/p.tar.gz"+suffix))
		must(os.Symlink("er/p.tar.gz"+suffix, top+"/deep/p.tar.gz"+suffix))
		must(os.Symlink("step/../p.tar.gz"+suffix, top+"/start/p.tar.gz"+suffix))
	}
	for _, c := range []struct {
		bundle, state string
		ok            bool
	}{
		{"/bundles/p.tar.gz", "/state", true},
		{"/bundles/p.tar.gz", "/elsewhere/state", true},
		{"/bundles/q.tar.gz", "/state", true},
		{"/bundles/p.tar.gz", "/bundles/state", false},
		{"/bundles/p.tar.gz", "/bundles/below/state", false},
		{"/bundles/p.tar.gz", "/alias/state", false},
		{"/bundles/p.tar.gz", "/alias/below/state", false},
		{"/alias/p.tar.gz", "/bundles/state", false},
		{"/bundles/q.tar.gz", "/bundles/..data-1/state", false},
		{"/bundles/q.tar.gz", "/bundles/..data/state", false},
		{"/bundles/q.tar.gz", "/bundles/state", false},
		{"/elsewhere/p.tar.gz", "/elsewhere/state", false},
		{"/elsewhere/p.tar.gz", "/bundles/state", false},
		{"/p2.tar.gz", "/elsewhere/state", false}, // a link on the way lies there
		{"/p2.tar.gz", "/state", false},
		{"/start/p.tar.gz", "/deep/state", false}, // a link on the way lies there: .. is not where it seems to be
		{"/start/p.tar.gz", "/elsewhere/state", true},
	} {
		t.Run("POL-5006 "+c.bundle+" and "+c.state, func(t *testing.T) {
			v := s.v
			v.StateFile = top + c.state
			b, err := v.VerifyFile(top + c.bundle)
			switch {
			case c.ok && (b == nil || err != nil):
				t.Error(err)
			case !c.ok && b != nil:
				t.Error("accepted")
			case !c.ok:
				refusedAs(t, err, policy.ErrState)
				if !strings.Contains(err.Error(), "lies in a directory of the bundle") {
					t.Error(err)
				}
			}
		})
	}
}

// TestWaysThatLeadNowhere: POL-5006. Where it cannot be told whether the state is in the bundle's reach, it is.
func TestWaysThatLeadNowhere(t *testing.T) {
	s := newSigner(t)
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	archive := marshal(t, bundleOf(t, grants))
	must(os.WriteFile(filepath.Join(dir, "p0"), archive, 0o600))
	for i := range 40 {
		must(os.Symlink(fmt.Sprintf("p%d", i), filepath.Join(dir, fmt.Sprintf("p%d", i+1))))
	}
	file := filepath.Join(dir, "p0")
	must(os.WriteFile(file+policy.SignatureSuffix, s.sign(archive, statement(1)), 0o600))
	if b, err := s.v.VerifyFile(file); b == nil || err != nil {
		t.Errorf("control: %v", err)
	}
	if b, err := s.v.VerifyFile(filepath.Join(dir, "p40")); b != nil || err == nil || !strings.Contains(err.Error(), "more than 40 symbolic links") {
		t.Errorf("too many links: %v", err)
	}
	s.v.StateFile = filepath.Join(filepath.Dir(s.v.StateFile), "missing", "state")
	b, err := s.v.VerifyFile(filepath.Join(dir, "p1")) // unsigned, which would be the next refusal
	if b != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a state in no directory: %v", err)
	}
	refusedAs(t, err, policy.ErrState)
}

func TestFilesThatAreNoBundle(t *testing.T) {
	s := newSigner(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "p")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if b, err := s.v.VerifyFile(file); b != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("POL-5001 missing: %v", err)
	}
	must(os.WriteFile(file, marshal(t, bundleOf(t, grants)), 0o600))
	b, err := s.v.VerifyFile(file)
	if b != nil {
		t.Error("POL-5001: taken without a signature")
	}
	refusedAs(t, err, policy.ErrUnsigned)
	must(os.WriteFile(file+policy.SignatureSuffix, make([]byte, 1<<20), 0o600))
	_, err = s.v.VerifyFile(file)
	refusedAs(t, err, policy.ErrSignatureFormat)
	must(os.Truncate(file+policy.SignatureSuffix, 0))
	_, err = s.v.VerifyFile(file)
	refusedAs(t, err, policy.ErrUnsigned)
	must(os.WriteFile(file+policy.SignatureSuffix, s.sign([]byte("x"), statement(1)), 0o600))
	must(os.Truncate(file, 96<<20+1)) // a hole
	_, err = s.v.VerifyFile(file)
	refusedAs(t, err, policy.ErrOversized)
	must(os.Remove(file))
	must(os.Mkdir(file, 0o700))
	if b, err := s.v.VerifyFile(file); b != nil || err == nil {
		t.Error("POL-5001: a directory")
	}
	if _, err := (policy.Verifier{}).VerifyFile(file); !errors.Is(err, policy.ErrNoKey) {
		t.Errorf("POL-5001: %v", err)
	}
}
