package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/secrets-management/secret"
)

// Shard is a part of a model in the memory of a GPU, and its seal: HMAC-SHA256 over shard_id|digest|sealed_at_unix|gpu_device,
// in hexadecimal.
type Shard struct {
	ID           string `json:"shard_id"`
	Digest       string `json:"digest"`
	SealedAtUnix int64  `json:"sealed_at_unix"`
	GPUDevice    int    `json:"gpu_device"`
	Seal         string `json:"seal,omitempty"`
}

const (
	separator = "|"
	maxField  = 255
)

var errField = errors.New("a field that cannot be sealed")

// message is what is sealed. A field with the separator would make two shards one message: a|b with c, and a with b|c.
func (s Shard) message() ([]byte, error) {
	for name, field := range map[string]string{"shard_id": s.ID, "digest": s.Digest} {
		if field == "" || len(field) > maxField || strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r > '~' || string(r) == separator }) {
			return nil, fmt.Errorf("%w: %s", errField, name)
		}
	}
	if s.SealedAtUnix <= 0 || s.GPUDevice < 0 {
		return nil, fmt.Errorf("%w: sealed_at_unix or gpu_device", errField)
	}
	return fmt.Appendf(nil, "%s|%s|%d|%d", s.ID, s.Digest, s.SealedAtUnix, s.GPUDevice), nil
}

func (s *Shard) seal(key *secret.Key) error {
	message, err := s.message()
	if err != nil {
		return err
	}
	mac, err := key.Sign(message)
	if err != nil {
		return err
	}
	s.Seal = hex.EncodeToString(mac)
	return nil
}

// intact reports whether the seal is that of the shard as it is. One spelling of a seal counts: lower case.
func (s Shard) intact(key *secret.Key) bool {
	message, err := s.message()
	if err != nil || strings.ToLower(s.Seal) != s.Seal {
		return false
	}
	mac, err := hex.DecodeString(s.Seal)
	return err == nil && key.VerifyMAC(message, mac)
}
