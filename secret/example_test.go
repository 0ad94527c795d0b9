package secret_test

import (
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
