// Command pool-managerd is the pool daemon of the example: nodes register at it, the queen asks it for them, and it registers
// at the queen itself.
//
//	LLORCH_LISTEN     where to listen, 127.0.0.1:9200 unless set; an address that others can reach needs long tokens
//	LLORCH_QUEEN_URL  the queen, http://127.0.0.1:9100 unless set
//	LLORCH_ADDRESS    where the queen finds this pool, LLORCH_LISTEN unless set
//	LLORCH_INTERVAL   seconds between registrations, 30 unless set
//
// Its token: the credential api_token, else the file that LLORCH_API_TOKEN_FILE names (/etc/llorch/secrets/pool-token). Those of
// who may call: the credentials queen_token and worker_token, else the files of LLORCH_QUEEN_TOKEN_FILE and
// WORKER_API_TOKEN_FILE (queen-token and worker-token in /etc/llorch/secrets/pool-managerd).
package main

import (
	"cmp"
	"context"
	"net/http"
	"os"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/examples/service"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

func main() { os.Exit(service.Main("pool-managerd", run)) }

func run(ctx context.Context, s *service.Service) error {
	var own, queen, worker *secret.Secret
	err := s.Loader.LoadAll(ctx,
		loader.Request{Secret: &own, Refs: []loader.Ref{
			loader.Credential("api_token"), loader.FileFromEnv("LLORCH_API_TOKEN_FILE", "/etc/llorch/secrets/pool-token"),
		}},
		loader.Request{Secret: &queen, Refs: []loader.Ref{
			loader.Credential("queen_token"), loader.FileFromEnv("LLORCH_QUEEN_TOKEN_FILE", "/etc/llorch/secrets/pool-managerd/queen-token"),
		}},
		loader.Request{Secret: &worker, Refs: []loader.Ref{
			loader.Credential("worker_token"), loader.FileFromEnv("WORKER_API_TOKEN_FILE", "/etc/llorch/secrets/pool-managerd/worker-token"),
		}})
	if err != nil {
		return err
	}
	defer own.Close()
	defer queen.Close()
	defer worker.Close()

	guard, err := bearer.New(bearer.Config{
		Realm: "pool-managerd", Open: []string{"/health"}, Logger: s.Log,
		Tokens: []bearer.Token{{Name: "client", Secret: own}, {Name: "queen-rbee", Secret: queen}, {Name: "worker-orcd", Secret: worker}},
	})
	if err != nil {
		return err
	}
	address := cmp.Or(os.Getenv("LLORCH_LISTEN"), "127.0.0.1:9200")
	registration, err := registration(own, address)
	if err != nil {
		return err
	}
	listener, err := bearer.Listen(ctx, address, own, queen, worker)
	if err != nil {
		return err
	}
	p := pool{Service: s}
	return s.ServeRegistered(ctx, listener, guard.Handler(p.routes()), registration)
}

// registration is with the queen, as the pool.
func registration(own *secret.Secret, address string) (service.Registration, error) {
	queenURL := cmp.Or(os.Getenv("LLORCH_QUEEN_URL"), "http://127.0.0.1:9100")
	return service.NewRegistration(queenURL, "/v2/pools/register", own,
		service.Node{ID: "pool-1", Address: cmp.Or(os.Getenv("LLORCH_ADDRESS"), address)})
}

type pool struct {
	*service.Service

	nodes service.Registry
}

func (p *pool) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", p.Health)
	mux.HandleFunc("POST /v2/nodes/register", p.nodes.Handler("worker-orcd", "node"))
	mux.HandleFunc("GET /v2/nodes", p.list)
	return mux
}

// list is for everybody but workers, which have no business with each other.
func (p *pool) list(w http.ResponseWriter, r *http.Request) {
	if bearer.Caller(r.Context()) == "worker-orcd" {
		http.Error(w, "not for worker-orcd", http.StatusForbidden)
		return
	}
	service.Write(w, http.StatusOK, map[string]any{"nodes": p.nodes.List()})
}
