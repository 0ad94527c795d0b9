package secret_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/llorch/secrets-management/secret"
)

func Example() {
	file := []byte("  s3cr3t-t0ken\n") // what a read would put into buf
	token, err := secret.New(len(file)+1, func(buf []byte) (int, error) {
		n := copy(buf, file)
		return secret.TrimSpace(buf[:n]), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := token.Close(); err != nil {
			log.Print(err)
		}
	}()

	fmt.Println(token)
	fmt.Println(token.Verify("guess"), token.Verify("s3cr3t-t0ken"))
	// Output:
	// [REDACTED]
	// false true
}

// Where swapping is not acceptable, locked memory can be required. The error comes before the content is read.
func ExampleOptions() {
	o := secret.Options{RequireLocked: true, Forgotten: func(f secret.Forgotten) {
		log.Printf("a secret was never closed; it was made by\n%s", f.Stack)
	}}
	text := "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	token, err := o.New(len(text), func(buf []byte) (int, error) { return copy(buf, text), nil })
	if errors.Is(err, secret.ErrNotLocked) {
		fmt.Println("raise LimitMEMLOCK=:", err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	key, err := secret.DecodeKey(token, secret.Base64URL)
	if err == nil {
		fmt.Println(key, key.Options().RequireLocked)
	}
	if err := errors.Join(err, token.Close(), key.Close()); err != nil {
		log.Fatal(err)
	}
}
