// Command queen-rbee is the orchestrator of the example: it lets clients and its pool in, and asks the pool with its own token.
//
//	LLORCH_LISTEN    where to listen, 127.0.0.1:9100 unless set; an address that others can reach needs a long token
//	LLORCH_POOL_URL  the pool, http://127.0.0.1:9200 unless set
//
// Its token: the credential api_token, else the file that LLORCH_API_TOKEN_FILE names (/etc/llorch/secrets/api-token), else, with
// a warning, the deprecated LLORCH_API_TOKEN. The pool's: the credential pool_token, else the file of
// LLORCH_POOL_TOKEN_FILE (/etc/llorch/secrets/queen-rbee/pool-token).
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/examples/service"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

func main() { os.Exit(service.Main("queen-rbee", run)) }

func run(ctx context.Context, s *service.Service) error {
	var own, pool *secret.Secret
	err := s.Loader.LoadAll(ctx,
		loader.Request{Secret: &own, Refs: []loader.Ref{
			loader.Credential("api_token"),
			loader.FileFromEnv("LLORCH_API_TOKEN_FILE", "/etc/llorch/secrets/api-token"),
			loader.Env("LLORCH_API_TOKEN"), //nolint:staticcheck // SA1019: this is the migration that it is for
		}},
		loader.Request{Secret: &pool, Refs: []loader.Ref{
			loader.Credential("pool_token"),
			loader.FileFromEnv("LLORCH_POOL_TOKEN_FILE", "/etc/llorch/secrets/queen-rbee/pool-token"),
		}})
	if err != nil {
		return err
	}
	defer own.Close()
	defer pool.Close()

	guard, err := bearer.New(bearer.Config{
		Realm: "queen-rbee", Open: []string{"/health"}, Logger: s.Log,
		Tokens: []bearer.Token{{Name: "client", Secret: own}, {Name: "pool-managerd", Secret: pool}},
	})
	if err != nil {
		return err
	}
	poolURL := cmp.Or(os.Getenv("LLORCH_POOL_URL"), "http://127.0.0.1:9200")
	client, err := service.Client(poolURL, own)
	if err != nil {
		return err
	}
	client.Timeout = askPool
	listener, err := bearer.Listen(ctx, cmp.Or(os.Getenv("LLORCH_LISTEN"), "127.0.0.1:9100"), own, pool)
	if err != nil {
		return err
	}
	q := queen{Service: s, poolURL: poolURL, pool: client}
	return s.Serve(ctx, listener, guard.Handler(q.routes()))
}

const (
	askPool = 5 * time.Second
	maxList = 1 << 20
)

type queen struct {
	*service.Service

	poolURL string
	pool    *http.Client
	pools   service.Registry
}

func (q *queen) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", q.Health)
	mux.HandleFunc("POST /v2/pools/register", q.pools.Handler("pool-managerd", "pool"))
	mux.HandleFunc("GET /v2/pools", func(w http.ResponseWriter, _ *http.Request) {
		service.Write(w, http.StatusOK, map[string]any{"pools": q.pools.List()})
	})
	mux.HandleFunc("GET /v2/nodes", q.nodes)
	return mux
}

// nodes asks the pool that is configured, never one that somebody registered: its address decides where the token goes.
func (q *queen) nodes(w http.ResponseWriter, r *http.Request) {
	var list struct {
		Nodes []service.Node `json:"nodes"`
	}
	if err := q.ask(r.Context(), "/v2/nodes", &list); err != nil {
		q.Log.Warn("the pool does not answer", "error", err)
		http.Error(w, "the pool does not answer", http.StatusBadGateway)
		return
	}
	service.Write(w, http.StatusOK, list)
}

func (q *queen) ask(ctx context.Context, path string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, q.poolURL+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := q.pool.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, maxList)).Decode(v)
}
