// Package service is what the four example services have in common and is no security: a loader from a file of grants, an
// audit log, a log in JSON, signals, a server with time limits, readiness for systemd. Copy it, and change what differs.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/llorch/secrets-management/loader"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/secret"
)

// Service is a running service. It is safe for concurrent use.
type Service struct {
	Loader *loader.Loader
	Log    *slog.Logger
}

// Main runs a service until SIGTERM or SIGINT, and returns its exit code: 0, or 1 after an error, which is in the log. The
// variables that it reads: LLORCH_GRANTS, what the security team wrote, and LLORCH_AUDIT, the audit log;
// LLORCH_ENVIRONMENT, such as production, for rules that tell them apart.
func Main(name string, run func(ctx context.Context, s *Service) error) int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := open(name, log, run); err != nil {
		log.Error("ended", "service", name, "error", err)
		return 1
	}
	log.Info("ended", "service", name)
	return 0
}

func open(name string, log *slog.Logger, run func(context.Context, *Service) error) error {
	if err := secret.HardenProcess(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	grants, err := os.ReadFile(cmp.Or(os.Getenv("LLORCH_GRANTS"), "/etc/llorch/grants.json")) //nolint:gosec // G703: whoever starts the service names it
	if err != nil {
		return err
	}
	engine, err := policy.Default(grants)
	if err != nil {
		return err
	}
	defer engine.Close()
	audit, done, err := auditLog()
	if err != nil {
		return err
	}
	defer done()
	l, err := loader.New(loader.Config{Service: name, Environment: os.Getenv("LLORCH_ENVIRONMENT"), Policy: engine, Audit: audit, Logger: log})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return run(ctx, &Service{Loader: l, Log: log.With("service", name)})
}

// auditLog is a file with a chain of entries, in the folder that systemd made for the service (LogsDirectory=) unless told, or,
// for containers, whose platform collects it, standard output: "-".
func auditLog() (sink loader.AuditSink, done func(), err error) {
	name := cmp.Or(os.Getenv("LLORCH_AUDIT"), filepath.Join(os.Getenv("LOGS_DIRECTORY"), "audit.jsonl"))
	if name == "-" {
		return loader.NewAuditWriter(os.Stdout), func() {}, nil
	}
	file, err := loader.OpenAuditFile(name)
	if err != nil {
		return nil, nil, err
	}
	return file, func() { _ = file.Close() }, nil // every entry was written when it was recorded
}

// Health answers a readiness probe. What is wrong is in the log, and not in the answer: anybody may ask.
func (s *Service) Health(w http.ResponseWriter, r *http.Request) {
	if err := s.Loader.Health(r.Context()); err != nil {
		s.Log.Warn("not healthy", "error", err)
		http.Error(w, "not healthy", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // the client is gone then
}

const (
	slow       = 10 * time.Second // for a client that sends or reads slowly, and for requests that run when the service ends
	idle       = time.Minute
	maxHeaders = 16 << 10
)

// Serve answers requests until ctx ends, then lets those that run finish.
func (s *Service) Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: slow, ReadTimeout: slow, WriteTimeout: 2 * slow, IdleTimeout: idle, MaxHeaderBytes: maxHeaders,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	s.Log.Info("ready", "address", listener.Addr().String())
	if err := notify("READY=1"); err != nil {
		s.Log.Warn("systemd was not told", "error", err)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slow)
	defer cancel()
	return server.Shutdown(ctx)
}

// notify tells systemd, if it waits for that (sd_notify(3), Type=notify).
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.WriteString(c, state)
	return err
}

// cleartext reports whether LLORCH_CLEARTEXT=yes allows tokens on a network that encrypts by itself.
func cleartext() (bool, error) {
	switch v := os.Getenv("LLORCH_CLEARTEXT"); strings.ToLower(v) {
	case "", "no":
		return false, nil
	case "yes":
		return true, nil
	default:
		return false, fmt.Errorf("LLORCH_CLEARTEXT=%q: yes or no", v)
	}
}

// Seconds is a time from the environment, in whole seconds or a fraction of one.
func Seconds(variable string, otherwise time.Duration) (time.Duration, error) {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0.1 && v <= 3600) {
		return 0, fmt.Errorf("%s=%q: write seconds, 0.1 to 3600", variable, text)
	}
	return time.Duration(v * float64(time.Second)), nil
}
