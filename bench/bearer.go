package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/secret"
)

// What the middleware adds to a request: the same handler with and without it, asked over loopback by one client that keeps
// its connection and sends the token to both.
func bearerRatios() []ratio {
	return []ratio{{name: "bearer_us", limit: 5, measure: bearerAdds}}
}

func bearerAdds() (added float64, err error) {
	s, err := secret.FromBytes([]byte(token))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	guard, err := bearer.New(bearer.Config{
		Realm: "bench", Tokens: []bearer.Token{{Name: "bench", Secret: s}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	var failed error
	with, stop, err := asking(guard.Handler(handler), &failed)
	if err != nil {
		return 0, err
	}
	defer stop()
	without, stop2, err := asking(handler, &failed)
	if err != nil {
		return 0, err
	}
	defer stop2()
	added = difference(with, without) / float64(time.Microsecond)
	return added, failed
}

// asking starts a server, and returns what asks it once.
func asking(handler http.Handler, failed *error) (ask, stop func(), err error) {
	listener, err := bearer.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // until stop
	client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}}
	r, err := http.NewRequest(http.MethodGet, "http://"+listener.Addr().String()+"/v2/nodes", http.NoBody) //nolint:noctx // measured without
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	ask = func() {
		res, err := client.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			err = errors.Join(err, res.Body.Close())
			if res.StatusCode != http.StatusOK {
				err = errors.Join(err, errors.New(res.Status))
			}
		}
		if err != nil {
			*failed = err
		}
	}
	return ask, func() { client.CloseIdleConnections(); _ = server.Close() }, nil
}

// difference is the median of what own takes longer than peer, in nanoseconds of one call. Neighbours are compared, in an order
// that changes, as in compare; batches are short and many, since a request is a hundred times what is looked for.
func difference(own, peer func()) float64 {
	const each, n = 301, 40
	batch(own) // warm
	batch(peer)
	differences := make([]float64, each)
	for i := range differences {
		o, p := neighbours(i, n, n, own, peer)
		differences[i] = o - p
	}
	return median(differences)
}
