package kdf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	xhkdf "golang.org/x/crypto/hkdf"
	"pgregory.net/rapid"

	"github.com/llorch/secrets-management/secret"
)

func mustToken(tb testing.TB, content []byte) *secret.Secret {
	tb.Helper()
	s, err := secret.FromBytes(bytes.Clone(content))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// keyBytes derives a key and returns a copy of its bytes.
func keyBytes(token *secret.Secret, domain string) ([]byte, error) {
	k, err := Derive(token, domain)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = k.Use(func(b []byte) error {
		out = bytes.Clone(b)
		return nil
	})
	return out, errors.Join(err, k.Close())
}

// vector is a file in testdata: "name: value" lines, the values in hex but for the verdict, which is what is expected.
type vector map[string]string

func (v vector) bytes(t *testing.T, name string) []byte {
	t.Helper()
	text, ok := v[name]
	if !ok {
		t.Fatalf("no line %q", name)
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readVector(t *testing.T, file string) vector {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && !strings.HasPrefix(line, "#") {
			v[name] = strings.TrimSpace(value)
		}
	}
	return v
}

// TestVectors: SM-LOAD-4003, SEC-SECRET-040..044, and the attack cases "weak KDF", "missing domain", "short output".
func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, file := range files {
		v := readVector(t, file)
		ran[v["expect"]]++
		t.Run("SM-LOAD-4003 "+filepath.Base(file), func(t *testing.T) { runVector(t, v) })
	}
	for verdict, want := range map[string]int{"hkdf": 13, "key": 2, "derivation": 3, "format": 1} {
		if ran[verdict] != want {
			t.Errorf("%d vectors expect %s, want %d", ran[verdict], verdict, want)
		}
	}
}

func runVector(t *testing.T, v vector) {
	switch v["expect"] {
	case "hkdf":
		want := v.bytes(t, "okm")
		got := make([]byte, len(want))
		if err := derive(got, v.bytes(t, "ikm"), v.bytes(t, "salt"), string(v.bytes(t, "info"))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	case "key":
		got, err := keyBytes(mustToken(t, v.bytes(t, "token")), string(v.bytes(t, "domain")))
		if err != nil || !bytes.Equal(got, v.bytes(t, "okm")) {
			t.Errorf("another key (error %v)", err)
		}
	case "derivation":
		refused(t, mustToken(t, v.bytes(t, "token")), string(v.bytes(t, "domain")), ErrDerivation)
	case "format":
		if len(v.bytes(t, "token")) != 0 {
			t.Fatal("not an empty token")
		}
		refused(t, nil, string(v.bytes(t, "domain")), secret.ErrInvalidFormat)
	default:
		t.Errorf("unknown verdict %q", v["expect"])
	}
}

func refused(t *testing.T, token *secret.Secret, domain string, want error) {
	t.Helper()
	k, err := Derive(token, domain)
	if k != nil || !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	for _, other := range []error{ErrDerivation, secret.ErrInvalidFormat, secret.ErrClosed} {
		if other != want && errors.Is(err, other) {
			t.Errorf("error %v matches %v too", err, other)
		}
	}
	if strings.Contains(err.Error(), "worker-token") {
		t.Error("SM-TYPE-3003: the error contains the token")
	}
}

func TestDeriveClosed(t *testing.T) {
	token := mustToken(t, []byte("worker-token-0123456789"))
	if err := token.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tok := range []*secret.Secret{token, {}} {
		t.Run("SM-LOAD-4003 closed", func(t *testing.T) { refused(t, tok, SealKeyV1, secret.ErrClosed) })
	}
}

// TestDeriveInheritsOptions: SM-TYPE-3001: what was required of the token's memory is required of the key's.
func TestDeriveInheritsOptions(t *testing.T) {
	o := secret.Options{RequireLocked: secret.ProtectionLevel() != secret.LevelHeap, Forgotten: func(secret.Forgotten) {}}
	token, err := o.FromBytes([]byte("worker-token-0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := Derive(token, SealKeyV1)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Options(); got.RequireLocked != o.RequireLocked || got.Forgotten == nil {
		t.Error("SM-TYPE-3001: the options got lost")
	}
	if err := errors.Join(key.Close(), token.Close()); err != nil {
		t.Error(err)
	}
}

func TestDeriveLeavesTokenOpen(t *testing.T) {
	token := mustToken(t, []byte("worker-token-0123456789"))
	if _, err := keyBytes(token, SealKeyV1); err != nil {
		t.Fatal(err)
	}
	if !token.Verify("worker-token-0123456789") {
		t.Error("SM-LOAD-4003: the token is closed or changed")
	}
}

// TestDeriveProperties: deterministic, sensitive to each input, 32 bytes, and what golang.org/x/crypto/hkdf computes.
func TestDeriveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.SliceOfN(rapid.Byte(), 14, 300).Draw(t, "token") // 14: what fips140=only accepts
		domain := rapid.StringN(1, 40, MaxDomain).Draw(t, "domain")
		other := rapid.StringN(1, 40, MaxDomain).Draw(t, "other")

		s, err := secret.FromBytes(bytes.Clone(token))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		got, err := keyBytes(s, domain)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, secret.KeySize)
		if _, err := io.ReadFull(xhkdf.New(sha256.New, token, nil, []byte(domain)), want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("another key than x/crypto")
		}
		again, err := keyBytes(s, domain)
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("not deterministic (error %v)", err)
		}
		second, err := keyBytes(s, other)
		if err != nil || bytes.Equal(second, got) != (domain == other) {
			t.Errorf("domains are not separate (error %v)", err)
		}
		token[rapid.IntRange(0, len(token)-1).Draw(t, "at")] ^= 1
		changed, err := secret.FromBytes(token)
		if err != nil {
			t.Fatal(err)
		}
		third, err := keyBytes(changed, domain)
		if err := errors.Join(err, changed.Close()); err != nil || bytes.Equal(third, got) {
			t.Errorf("the key does not depend on the token (error %v)", err)
		}
	})
}

// TestLabels: a label is part of what is stored under the key: changing one loses the data.
func TestLabels(t *testing.T) {
	v := readVector(t, "testdata/key_seal_v1.txt")
	if got := string(v.bytes(t, "domain")); got != SealKeyV1 {
		t.Errorf("SM-INTEG-6003 CI-005: the label is %q, and was %q", SealKeyV1, got)
	}
}

// TestDomainLimit: the longest domain is accepted; testdata has the one that is a byte longer.
func TestDomainLimit(t *testing.T) {
	if _, err := keyBytes(mustToken(t, []byte("worker-token-0123456789")), strings.Repeat("d", MaxDomain)); err != nil {
		t.Error(err)
	}
}

// TestDigestsForget: SM-SEC-5001 for the digests on the Go heap: after derive their state is that of a new one.
func TestDigestsForget(t *testing.T) {
	var used digests
	token := []byte("worker-token-0123456789")
	h := used.add()
	h.Write(token)
	// fmt prints the fields of the state, the buffer of the last block among them, as lists of decimal numbers.
	if !strings.Contains(fmt.Sprint(h), strings.Trim(fmt.Sprintf("%d", token), "[]")) {
		t.Fatal("the control does not find the token")
	}
	used.overwrite()
	if fmt.Sprint(h) != fmt.Sprint(sha256.New()) {
		t.Error("the state differs from that of a new digest")
	}
}

// TestFIPS: the same vectors and properties hold where only approved cryptography is allowed (GODEBUG=fips140=only).
func TestFIPS(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		return // this is the child
	}
	cmd := exec.Command(os.Args[0], "-test.run=^(TestVectors|TestDeriveProperties|TestFIPSShortToken)$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("rfc5869_a1")) {
		t.Errorf("SEC-SECRET-040: %v\n%s", err, out)
	}
}

// TestFIPSShortToken: a token under 112 bits derives, but not under fips140=only, where it is an error and no panic.
func TestFIPSShortToken(t *testing.T) {
	_, err := keyBytes(mustToken(t, []byte("13 bytes only")), SealKeyV1)
	if strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		if !errors.Is(err, ErrDerivation) {
			t.Errorf("error %v, want %v", err, ErrDerivation)
		}
	} else if err != nil {
		t.Error(err)
	}
}

// TestDeriveRefuses: SM-LOAD-4003: nothing is derived from an empty token, which no secret holds, nor more than HKDF has to give.
func TestDeriveRefuses(t *testing.T) {
	token := []byte("worker-token-0123456789")
	for name, tt := range map[string]struct {
		size  int
		token []byte
		want  error
	}{
		"no token":         {secret.KeySize, nil, secret.ErrInvalidFormat},
		"the most":         {255 * sha256.Size, token, nil}, // the control: RFC 5869, section 2.3
		"more than it has": {255*sha256.Size + 1, token, ErrDerivation},
	} {
		dst := make([]byte, tt.size)
		err := derive(dst, tt.token, nil, SealKeyV1)
		if zero := bytes.Equal(dst, make([]byte, tt.size)); !errors.Is(err, tt.want) || zero != (tt.want != nil) {
			t.Errorf("SM-LOAD-4003 %s: error %v, want %v; nothing written: %v", name, err, tt.want, zero)
		}
	}
}
