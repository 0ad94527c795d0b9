// Command worker-orcd is the GPU worker of the example: it registers at its pool, again when the pool was restarted, and
// answers whoever has its token.
//
//	LLORCH_LISTEN    where to listen, 127.0.0.1:9300 unless set; an address that others can reach needs a long token
//	LLORCH_POOL_URL  the pool, http://127.0.0.1:9200 unless set
//	LLORCH_ADDRESS   where others find this worker, LLORCH_LISTEN unless set
//	LLORCH_NODE      its name among the nodes, the host's unless set
//	LLORCH_INTERVAL  seconds between registrations, 30 unless set
//
// Its token: the credential worker_token, else the file that WORKER_API_TOKEN_FILE names (/etc/llorch/secrets/worker-token).
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

func main() { os.Exit(service.Main("worker-orcd", run)) }

func run(ctx context.Context, s *service.Service) error {
	token, err := s.Loader.LoadSecret(ctx, loader.Credential("worker_token"),
		loader.FileFromEnv("WORKER_API_TOKEN_FILE", "/etc/llorch/secrets/worker-token"))
	if err != nil {
		return err
	}
	defer token.Close()
	guard, err := bearer.New(bearer.Config{
		Realm: "worker-orcd", Open: []string{"/health"}, Logger: s.Log, Tokens: []bearer.Token{{Name: "client", Secret: token}},
	})
	if err != nil {
		return err
	}
	address := cmp.Or(os.Getenv("LLORCH_LISTEN"), "127.0.0.1:9300")
	registration, err := registration(token, address)
	if err != nil {
		return err
	}
	listener, err := bearer.Listen(ctx, address, token)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.Health)
	mux.HandleFunc("GET /v2/worker", func(w http.ResponseWriter, _ *http.Request) {
		service.Write(w, http.StatusOK, registration.Body)
	})
	return s.ServeRegistered(ctx, listener, guard.Handler(mux), registration)
}

func registration(token *secret.Secret, address string) (service.Registration, error) {
	host, err := os.Hostname()
	if err != nil {
		return service.Registration{}, err
	}
	poolURL := cmp.Or(os.Getenv("LLORCH_POOL_URL"), "http://127.0.0.1:9200")
	return service.NewRegistration(poolURL, "/v2/nodes/register", token,
		service.Node{ID: cmp.Or(os.Getenv("LLORCH_NODE"), host), Address: cmp.Or(os.Getenv("LLORCH_ADDRESS"), address)})
}
