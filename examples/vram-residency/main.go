// Command vram-residency is the sealing service of the example: it seals what a GPU holds, and says later whether that is
// still what was sealed.
//
//	LLORCH_LISTEN  where to listen, 127.0.0.1:9400 unless set; an address that others can reach needs a long token
//
// Its token: the credential api_token, else the file that LLORCH_API_TOKEN_FILE names (/etc/llorch/secrets/vram-token). Its seal
// key: the file that WORKER_SEAL_KEY_FILE names, where that is set; else derived from the worker's token, the credential
// worker_token or the file of WORKER_API_TOKEN_FILE (/etc/llorch/secrets/vram-residency/worker-token); else the
// credential seal_key.
package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/llorch/secrets-management/bearer"
	"github.com/llorch/secrets-management/examples/service"
	"github.com/llorch/secrets-management/kdf"
	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/secret"
)

func main() { os.Exit(service.Main("vram-residency", run)) }

func run(ctx context.Context, s *service.Service) error {
	token, err := s.Loader.LoadSecret(ctx, loader.Credential("api_token"),
		loader.FileFromEnv("LLORCH_API_TOKEN_FILE", "/etc/llorch/secrets/vram-token"))
	if err != nil {
		return err
	}
	defer token.Close()
	key, err := sealKey(ctx, s.Loader)
	if err != nil {
		return err
	}
	defer key.Close()
	guard, err := bearer.New(bearer.Config{
		Realm: "vram-residency", Open: []string{"/health"}, Logger: s.Log, Tokens: []bearer.Token{{Name: "client", Secret: token}},
	})
	if err != nil {
		return err
	}
	listener, err := bearer.Listen(ctx, cmp.Or(os.Getenv("LLORCH_LISTEN"), "127.0.0.1:9400"), token)
	if err != nil {
		return err
	}
	v := vram{Service: s, key: key}
	return s.Serve(ctx, listener, guard.Handler(v.routes()))
}

// sealKey moves on to the next source only where the one before is truly absent. A file that was asked for by name has to
// be there.
func sealKey(ctx context.Context, l *loader.Loader) (*secret.Key, error) {
	if os.Getenv("WORKER_SEAL_KEY_FILE") != "" {
		return l.LoadKey(ctx, loader.FileFromEnv("WORKER_SEAL_KEY_FILE", ""))
	}
	key, err := l.DeriveKey(ctx, kdf.SealKeyV1, loader.Credential("worker_token"),
		loader.FileFromEnv("WORKER_API_TOKEN_FILE", "/etc/llorch/secrets/vram-residency/worker-token"))
	if err == nil || !loader.IsAbsent(err) {
		return key, err
	}
	key, kerr := l.LoadKey(ctx, loader.Credential("seal_key"))
	if kerr != nil {
		return nil, errors.Join(err, kerr)
	}
	return key, nil
}

type vram struct {
	*service.Service

	key *secret.Key
}

func (v *vram) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", v.Health)
	mux.HandleFunc("POST /v2/shards/seal", v.seal)
	mux.HandleFunc("POST /v2/shards/check", v.check)
	return mux
}

// seal takes the time itself: a client that chose it could date a seal back.
func (v *vram) seal(w http.ResponseWriter, r *http.Request) {
	var shard Shard
	if !service.Read(w, r, &shard) {
		return
	}
	shard.SealedAtUnix = time.Now().Unix()
	if err := shard.seal(v.key); err != nil {
		v.Log.Warn("not sealed", "error", err)
		http.Error(w, "not sealed: fields are 1 to 255 printable characters without |, a device is not negative", http.StatusBadRequest)
		return
	}
	service.Write(w, http.StatusOK, shard)
}

func (v *vram) check(w http.ResponseWriter, r *http.Request) {
	var shard Shard
	if !service.Read(w, r, &shard) {
		return
	}
	if !shard.intact(v.key) {
		v.Log.Warn("a seal does not fit", "shard", shard.ID)
		service.Write(w, http.StatusConflict, map[string]bool{"intact": false})
		return
	}
	service.Write(w, http.StatusOK, map[string]bool{"intact": true})
}
