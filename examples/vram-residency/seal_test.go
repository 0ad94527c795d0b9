package main

import (
	"strings"
	"testing"

	"github.com/llorch/secrets-management/secret"
)

func key(t *testing.T) *secret.Key {
	t.Helper()
	k, err := secret.NewKey(func(buf []byte) error { buf[0] = 1; return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// TestSeal: SVC-7014, SM-INTEG-6003, EXP-VRAM-5001. The seal is that of the documented message, and of no other shard.
func TestSeal(t *testing.T) {
	k, good := key(t), Shard{ID: "shard-7", Digest: "sha256:9f86d081", SealedAtUnix: 1764000000, GPUDevice: 3}
	if err := good.seal(k); err != nil {
		t.Fatal(err)
	}
	mac, err := k.Sign([]byte("shard-7|sha256:9f86d081|1764000000|3"))
	if err != nil {
		t.Fatal(err)
	}
	documented := Shard{Seal: good.Seal}
	if !good.intact(k) || documented.Seal != hexOf(mac) {
		t.Error("not the seal of shard_id|digest|sealed_at_unix|gpu_device")
	}
	for name, change := range map[string]func(*Shard){
		"id":              func(s *Shard) { s.ID = "shard-8" },
		"digest":          func(s *Shard) { s.Digest = "sha256:9f86d082" },
		"time":            func(s *Shard) { s.SealedAtUnix++ },
		"device":          func(s *Shard) { s.GPUDevice++ },
		"moved character": func(s *Shard) { s.ID, s.Digest = "shard-7s", "ha256:9f86d081" },
		"no seal":         func(s *Shard) { s.Seal = "" },
		"half a seal":     func(s *Shard) { s.Seal = s.Seal[:32] },
		"longer":          func(s *Shard) { s.Seal += "00" },
		"capitals":        func(s *Shard) { s.Seal = strings.ToUpper(s.Seal) },
		"no hexadecimal":  func(s *Shard) { s.Seal = strings.Repeat("g", 64) },
		"another bit": func(s *Shard) {
			s.Seal = s.Seal[:63] + string("0123456789abcdef"[strings.IndexByte("123456789abcdef0", s.Seal[63])])
		},
	} {
		tampered := good
		if change(&tampered); tampered.intact(k) {
			t.Errorf("%s: not found", name)
		}
	}
	other, err := secret.NewKey(func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if good.intact(other) {
		t.Error("another key takes the seal")
	}
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range b {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

// TestFieldsThatCannotBeSealed: SVC-7014. What could be read as two shards, or as none.
func TestFieldsThatCannotBeSealed(t *testing.T) {
	good := Shard{ID: "a", Digest: "b", SealedAtUnix: 1}
	if err := good.seal(key(t)); err != nil {
		t.Fatalf("the control: %v", err)
	}
	for name, s := range map[string]Shard{
		"separator in the id":     {ID: "a|b", Digest: "c", SealedAtUnix: 1},
		"separator in the digest": {ID: "a", Digest: "b|c", SealedAtUnix: 1},
		"no id":                   {Digest: "c", SealedAtUnix: 1},
		"no digest":               {ID: "a", SealedAtUnix: 1},
		"line feed":               {ID: "a\n", Digest: "c", SealedAtUnix: 1},
		"not ASCII":               {ID: "ä", Digest: "c", SealedAtUnix: 1},
		"long":                    {ID: strings.Repeat("a", 256), Digest: "c", SealedAtUnix: 1},
		"no time":                 {ID: "a", Digest: "c"},
		"before 1970":             {ID: "a", Digest: "c", SealedAtUnix: -1},
		"no device":               {ID: "a", Digest: "c", SealedAtUnix: 1, GPUDevice: -1},
	} {
		if err := s.seal(key(t)); err == nil || s.Seal != "" {
			t.Errorf("%s: sealed", name)
		}
	}
}
