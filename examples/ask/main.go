// Command ask sends one request with a token, which it takes from a file so that no process listing has it, and prints the
// answer: for the demo, and for trying a service by hand.
//
//	ask /etc/llorch/secrets/api-token GET http://127.0.0.1:9100/v2/nodes
//	ask /etc/llorch/secrets/vram-token POST http://127.0.0.1:9400/v2/shards/seal '{"shard_id":"a","digest":"b"}'
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/secret"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

const (
	patience  = 10 * time.Second
	maxAnswer = 1 << 20
)

func run(args []string, out io.Writer) error {
	if len(args) != 3 && len(args) != 4 {
		return errors.New("usage: ask TOKEN-FILE METHOD URL [BODY]")
	}
	u, err := url.Parse(args[2])
	if err != nil {
		return err
	}
	token, err := tokenFrom(args[0])
	if err != nil {
		return err
	}
	defer token.Close()
	transport, err := bearer.Client{Origin: u.Scheme + "://" + u.Host, Token: token}.Transport()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, args[1], u.String(), strings.NewReader(strings.Join(args[3:], ""))) //nolint:gosec // G704: its user says what to ask
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: transport}).Do(r) //nolint:gosec // G704: its user says what to ask
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	fmt.Fprintf(out, "%d %s\n", res.StatusCode, strings.TrimSpace(string(answer)))
	return err
}

// tokenFrom is for a person at a terminal, who may read what the system lets him read; a service asks the loader.
func tokenFrom(file string) (*secret.Secret, error) {
	f, err := os.Open(file) //nolint:gosec // G703: its user names it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return secret.New(bearer.MaxToken+1, func(buf []byte) (int, error) {
		n, err := io.ReadFull(f, buf)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return secret.TrimSpace(buf[:n]), err
	})
}
