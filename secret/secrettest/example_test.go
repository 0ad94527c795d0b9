package secrettest_test

import (
	"fmt"
	"log"
	"testing"

	"github.com/llorch/secrets-management/secret"
	"github.com/llorch/secrets-management/secret/secrettest"
)

type Config struct {
	Name  string
	Token *secret.Secret
}

// Careless is a Config with a method that somebody added for support.
type Careless struct{ Config }

func (c Careless) MarshalText() ([]byte, error) {
	token, err := c.Token.Expose()
	return []byte(c.Name + ":" + token), err
}

// printer stands for a *testing.T, and prints what a test would fail with.
type printer struct{ testing.TB }

func (printer) Helper()                           {}
func (printer) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func ExampleCheck() {
	t := printer{}
	token, err := secret.FromBytes([]byte("Wq7tR2kP9xL4vN6m")) // in a test: secrettest.Canary(t)
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := token.Close(); err != nil {
			log.Print(err)
		}
	}()

	config := Config{Name: "worker", Token: token}
	secrettest.Check(t, config, token)
	secrettest.Check(t, Careless{config}, token)
	// Output:
	// secrettest: secrettest_test.Careless: a part of the secret (as it is) is shown by slog's text handler, slog's JSON handler, encoding/json and 2 more
}
