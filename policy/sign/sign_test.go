package sign_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"

	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/sign"
)

const password = "fake-password-for-the-test"

var tomorrow = policy.Statement{Name: "llorch", Revision: 7, NotAfter: time.Now().Add(24 * time.Hour)}

// keyFile is a new secret key with or without a password.
func keyFile(t testing.TB, password string) []byte {
	t.Helper()
	_, k, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := k.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if password == "" {
		return plain
	}
	return encrypt(t, plain, password)
}

// encrypt puts a password on a key file, by parameters of scrypt that cost little, which minisign itself never picks:
// algorithm, key derivation, checksum, salt, two costs, and key number, key and checksum under a key stream.
func encrypt(t testing.TB, file []byte, password string) []byte {
	t.Helper()
	comment, text, _ := bytes.Cut(file, []byte("\n"))
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	const ops, mem = 32768, 16 << 20 // N = 1024, r = 8, p = 1
	copy(raw[2:], "Sc")
	copy(raw[6:], bytes.Repeat([]byte{7}, 32))
	binary.LittleEndian.PutUint64(raw[38:], ops)
	binary.LittleEndian.PutUint64(raw[46:], mem)
	sum := blake2b.Sum256(append([]byte("Ed"), raw[54:126]...))
	copy(raw[126:], sum[:])
	stream, err := scrypt.Key([]byte(password), raw[6:38], 1024, 8, 1, 104)
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range stream {
		raw[54+i] ^= b
	}
	return fmt.Appendf(nil, "%s\n%s\n", comment, base64.StdEncoding.EncodeToString(raw))
}

func TestParseKey(t *testing.T) {
	for name, file := range map[string][]byte{
		"empty": nil, "not a key": []byte("x"), "a public key": []byte("untrusted comment: x\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n"),
	} {
		if k, err := sign.ParseKey(file, ""); k != nil || !errors.Is(err, sign.ErrKey) {
			t.Errorf("POL-5003 %s: %v", name, err)
		}
	}
	if k, err := sign.ParseKey(keyFile(t, password), "wrong"); k != nil || !errors.Is(err, sign.ErrKey) {
		t.Errorf("POL-5003 a wrong password: %v", err)
	}
	for _, pw := range []string{"", password} {
		k, err := sign.ParseKey(keyFile(t, pw), pw)
		if err != nil {
			t.Fatal(err)
		}
		one, err := k.Sign([]byte("x"), tomorrow)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := k.Sign([]byte("x"), tomorrow); !bytes.Equal(one, again) {
			t.Error("POL-5003: two signatures of the same differ")
		}
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	file := keyFile(t, "")
	_, text, _ := bytes.Cut(file, []byte("\n"))
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		t.Fatal(err)
	}
	seed := raw[62:70] // of the secret key, as much as identifies it
	k, err := sign.ParseKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q"} {
		shown := strings.Trim(fmt.Sprintf(verb, seed), "[]")
		shown = strings.TrimSuffix(strings.TrimPrefix(shown, "[]byte{"), "}")
		for _, v := range []any{k, *k, &k, []any{k}, struct{ k *sign.Key }{k}, struct{ k sign.Key }{*k}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, shown) {
				t.Errorf("POL-5003: %s gives %s", verb, text)
			}
		}
	}
}

// TestStockMinisign: minisign itself verifies what we sign, and we verify what it signs.
func TestStockMinisign(t *testing.T) {
	if _, err := exec.LookPath("minisign"); err != nil {
		const message = "not run: comparison with the stock minisign: apt-get install minisign"
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Log(message)
		return
	}
	for name, pw := range map[string]string{"POL-5003 a key without a password": "", "POL-5003 a key with a password": password} {
		t.Run(name, func(t *testing.T) { compare(t, keyFile(t, pw), pw) })
	}
	t.Run("POL-5003 a key of its own", func(t *testing.T) {
		dir := t.TempDir()
		minisignDo(t, dir, "", true, "-G", "-W", "-p", "pub", "-s", "sec")
		public, err := os.ReadFile(filepath.Join(dir, "pub"))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := os.ReadFile(filepath.Join(dir, "sec"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := policy.ParsePublicKey(string(public))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(public), key.ID()) {
			t.Errorf("the key is called %s in\n%s", key.ID(), public)
		}
		if k, err := sign.ParseKey(secret, ""); err != nil || k.Public() != key {
			t.Errorf("public key %s, error %v", key, err)
		}
		compare(t, secret, "")
	})
}

// compare signs with both programs and lets each verify the other's.
func compare(t *testing.T, secret []byte, password string) {
	dir := t.TempDir()
	key, err := sign.ParseKey(secret, password)
	if err != nil {
		t.Fatal(err)
	}
	v := policy.Verifier{Keys: []policy.PublicKey{key.Public()}, Name: "llorch", MinRevision: 1}
	b := &policy.Bundle{Wasm: []byte("w"), Manifest: policy.NewManifest("llorch", "r")}
	archive, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	comment, err := tomorrow.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := key.Sign(archive, tomorrow)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "p.tar.gz")
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, archive)
	write(filepath.Join(dir, "sec"), secret)

	write(file+policy.SignatureSuffix, ours)
	out := minisignDo(t, dir, "", true, "-V", "-H", "-m", "p.tar.gz", "-P", key.Public().String())
	if !strings.Contains(out, string(comment)) {
		t.Errorf("minisign says %s", out)
	}
	write(file, append(bytes.Clone(archive), 0))
	minisignDo(t, dir, "", false, "-V", "-H", "-m", "p.tar.gz", "-P", key.Public().String()) // it does refuse
	write(file, archive)

	sign := []string{"-S", "-s", "sec", "-m", "p.tar.gz", "-t", string(comment)}
	minisignDo(t, dir, password, true, sign...)
	theirs, err := os.ReadFile(file + policy.SignatureSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.VerifyFile(file); err != nil || got.Statement().Revision != 7 {
		t.Errorf("we refuse what minisign signed: %v", err)
	}
	if !bytes.Equal(trusted(ours), trusted(theirs)) {
		t.Errorf("ours:\n%stheirs:\n%s", ours, theirs)
	}
	minisignDo(t, dir, password, true, append(sign, "-l")...)
	if b, err := v.VerifyFile(file); b != nil || !errors.Is(err, policy.ErrLegacySignature) {
		t.Errorf("POL-5001: a legacy signature: %v", err)
	}
	minisignDo(t, dir, password, true, sign[:5]...) // with the comment that it makes itself
	if b, err := v.VerifyFile(file); b != nil || !errors.Is(err, policy.ErrStatement) {
		t.Errorf("POL-5002: no statement: %v", err)
	}
}

// trusted is a signature file without the comment that nobody trusts.
func trusted(signature []byte) []byte {
	_, rest, _ := bytes.Cut(signature, []byte("\n"))
	return rest
}

func minisignDo(t *testing.T, dir, password string, good bool, args ...string) string {
	t.Helper()
	cmd := exec.Command("minisign", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.CombinedOutput()
	if (err == nil) != good {
		t.Fatalf("minisign %q: %v\n%s", args, err, out)
	}
	return string(out)
}
