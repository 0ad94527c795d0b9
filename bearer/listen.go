package bearer

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/llorch/secrets-management/secret"
)

// Listen opens a TCP socket at an address, "IP:PORT". One that others can reach, which is every one but 127.0.0.0/8 and
// [::1], is refused, and never bound, unless there are tokens and each has [MinNetworkToken] bytes or more. So is a host
// name, since what it means is decided elsewhere, and an address without a host, which is all of them, is one that others
// can reach. Pass every token that lets somebody in. The error is [ErrBind], [ErrToken] or that of the system.
func Listen(ctx context.Context, address string, tokens ...*secret.Secret) (net.Listener, error) {
	if err := mayListen(address, tokens); err != nil {
		return nil, err
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

func mayListen(address string, tokens []*secret.Secret) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%w at %q: write IP:PORT, such as 127.0.0.1:9200", ErrBind, address)
	}
	if host != "" {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return fmt.Errorf("%w at %q: write the IP address, 127.0.0.1 for this machine alone", ErrBind, address)
		}
		if ip.Unmap().IsLoopback() {
			return nil
		}
	}
	if len(tokens) == 0 {
		return fmt.Errorf("%w at %q, which others can reach, without a token: configure one, or listen on 127.0.0.1", ErrBind, address)
	}
	for _, t := range tokens {
		n, err := usable(t)
		if err != nil {
			return err
		}
		if n < MinNetworkToken {
			return fmt.Errorf("%w at %q, which others can reach: a token has %d bytes, at least %d are needed there (openssl rand -hex 32)",
				ErrBind, address, n, MinNetworkToken)
		}
	}
	return nil
}
