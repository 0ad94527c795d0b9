package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

const token64 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

// EXP-PERF-8001: the costs that a service pays per secret, and per request.

func BenchmarkLifecycle(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s, err := New(len(token64), func(buf []byte) (int, error) { return copy(buf, token64), nil })
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLifecycleShrunk(b *testing.B) {
	for b.Loop() {
		s, err := New(MaxSize, func(buf []byte) (int, error) { return copy(buf, token64), nil })
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	s := mustSecret(b, token64)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Use(func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := mustSecret(b, token64)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Verify(token64) {
			b.Fatal("mismatch")
		}
	}
}

func BenchmarkVerifyParallel(b *testing.B) {
	s := mustSecret(b, token64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !s.Verify(token64) {
				b.Error("mismatch")
			}
		}
	})
}

// BenchmarkHMACControl is what Verify is compared with: one HMAC-SHA256 of 64 bytes by the standard library.
func BenchmarkHMACControl(b *testing.B) {
	key, msg := []byte(strings.Repeat("k", 32)), []byte(token64)
	var sum [sha256.Size]byte
	for b.Loop() {
		h := hmac.New(sha256.New, key)
		h.Write(msg)
		h.Sum(sum[:0])
	}
}

func BenchmarkLifecycleParallel(b *testing.B) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s, err := New(len(token64), func(buf []byte) (int, error) { return copy(buf, token64), nil })
			if err != nil {
				b.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		}
	})
}
