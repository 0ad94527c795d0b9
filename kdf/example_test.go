package kdf_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/secret"
)

func ExampleDerive() {
	if err := seal(); err != nil {
		log.Fatal(err)
	}
	// Output: [REDACTED] true false
}

func seal() error {
	token, err := secret.FromBytes([]byte("worker-token-from-a-file"))
	if err != nil {
		return err
	}
	key, err := kdf.Derive(token, kdf.SealKeyV1)
	if err != nil {
		return errors.Join(err, token.Close())
	}
	record := []byte("shard-7|sha256:0a1b|1700000000|0")
	mac, err := key.Sign(record)
	if err == nil {
		fmt.Println(key, key.VerifyMAC(record, mac), key.VerifyMAC([]byte("shard-8"), mac))
	}
	return errors.Join(err, key.Close(), token.Close())
}
