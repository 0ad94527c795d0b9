// Command service is a small worker that shows the main job: it loads its token as the service that it says it is,
// answers HTTP requests that carry the token, derives its seal key and seals one record.
//
//	service -as worker-orcd -grants examples/policy/data.json -audit audit.jsonl
//
// It expects the systemd credential worker_token. It listens on a loopback port, asks itself once with and once
// without the token, prints what it saw and ends: what the demo needs. The token is never printed.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	as := flags.String("as", "worker-orcd", "the `identity` of this service")
	grants := flags.String("grants", "", "the security team's grants, a JSON `file`")
	auditFile := flags.String("audit", "", "the audit log, a `file` that is appended to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	data, err := os.ReadFile(*grants)
	if err != nil {
		return err
	}
	engine, err := policy.Default(data)
	if err != nil {
		return err
	}
	defer engine.Close()
	audit, err := loader.OpenAuditFile(*auditFile)
	if err != nil {
		return err
	}
	defer audit.Close()
	l, err := loader.New(loader.Config{Service: *as, Policy: engine, Audit: audit})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return serve(ctx, l, out)
}

func serve(ctx context.Context, l *loader.Loader, out io.Writer) error {
	ref := loader.Credential("worker_token")
	token, err := l.LoadSecret(ctx, ref)
	if err != nil {
		return err
	}
	defer token.Close()
	fmt.Fprintf(out, "token loaded: %v\n", token) // prints [REDACTED], as every verb does
	if err := answerRequests(ctx, token, out); err != nil {
		return err
	}
	key, err := l.DeriveKey(ctx, kdf.SealKeyV1, ref)
	if err != nil {
		return err
	}
	defer key.Close()
	return sealRecord(key, out)
}

// authenticated lets a request through when its Bearer token is the service's own.
func authenticated(token *secret.Secret, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !token.Verify(given) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answerRequests(ctx context.Context, token *secret.Secret, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: authenticated(token,
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") }))}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	url := "http://" + listener.Addr().String() + "/"
	// What leaves the process as a header has to be exposed; nothing can wipe such a copy.
	bearer, err := token.Expose()
	if err != nil {
		return err
	}
	with, err := get(ctx, url, "Bearer "+bearer)
	without, err2 := get(ctx, url, "")
	if err := errors.Join(err, err2, server.Shutdown(ctx)); err != nil {
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Fprintf(out, "request with the token: %d\nrequest without it: %d\n", with, without)
	if with != http.StatusOK || without != http.StatusUnauthorized {
		return errors.New("the wrong requests were let through")
	}
	return nil
}

func get(ctx context.Context, url, authorization string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// sealRecord signs a record so that nobody can change it unseen, and shows that it cannot.
func sealRecord(key *secret.Key, out io.Writer) error {
	record := "shard-7|sha256:9f86d081|1764000000|0"
	seal, err := key.Sign([]byte(record))
	if err != nil {
		return err
	}
	tampered := strings.Replace(record, "shard-7", "shard-8", 1)
	ok, forged := key.VerifyMAC([]byte(record), seal), key.VerifyMAC([]byte(tampered), seal)
	fmt.Fprintf(out, "record sealed: %s, seal %s…\nsealed record verifies: %v, tampered one: %v\n",
		record, hex.EncodeToString(seal[:4]), ok, forged)
	if !ok || forged {
		return errors.New("the seal does not hold")
	}
	return nil
}
