package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/secret"
)

func Example() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 200 hello, queen-rbee
	// 401 the token is not accepted
}

func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	right, err := secret.FromBytes([]byte("fake-token-of-the-queen-0123456789")) // a service loads it: see package loader
	if err != nil {
		return err
	}
	defer right.Close()
	wrong, err := secret.FromBytes([]byte("fake-token-of-somebody-else"))
	if err != nil {
		return err
	}
	defer wrong.Close()

	guard, err := bearer.New(bearer.Config{
		Realm: "pool-managerd", Tokens: []bearer.Token{{Name: "queen-rbee", Secret: right}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	listener, err := bearer.Listen(ctx, "127.0.0.1:0", right)
	if err != nil {
		return err
	}
	server := http.Server{Handler: guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello,", bearer.Caller(r.Context()))
	}))}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()

	origin := "http://" + listener.Addr().String()
	err = errors.Join(get(ctx, origin, right), get(ctx, origin, wrong), server.Shutdown(ctx))
	if serr := <-done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

func get(ctx context.Context, origin string, token *secret.Secret) error {
	transport, err := bearer.Client{Origin: origin, Token: token}.Transport()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+"/", http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1000))
	fmt.Print(res.StatusCode, " ", string(body))
	return errors.Join(err, res.Body.Close())
}
