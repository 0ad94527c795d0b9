package bearer

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/llorch/secrets-management/secret"
)

// TestListen: EXP-AUTH-4002, SVC-7006. An address that others can reach needs a token, and one of enough length.
func TestListen(t *testing.T) {
	long, short := tokenOf(t, strings.Repeat("a", MinNetworkToken)), tokenOf(t, strings.Repeat("a", MinNetworkToken-1))
	closed := tokenOf(t, queenToken)
	closed.Close()
	for name, tt := range map[string]struct {
		address string
		tokens  []*secret.Secret
		want    error
	}{
		"EXP-AUTH-4002 everywhere, no token":          {"0.0.0.0:0", nil, ErrBind},
		"EXP-AUTH-4002 no host, no token":             {":0", nil, ErrBind},
		"EXP-AUTH-4002 everywhere of IPv6, no token":  {"[::]:0", nil, ErrBind},
		"EXP-AUTH-4002 one address, no token":         {"192.0.2.1:0", nil, ErrBind},
		"EXP-AUTH-4002 mapped, no token":              {"[::ffff:192.0.2.1]:0", nil, ErrBind},
		"EXP-AUTH-4002 everywhere, a short token":     {"0.0.0.0:0", []*secret.Secret{short}, ErrBind},
		"EXP-AUTH-4002 everywhere, one of two short":  {"0.0.0.0:0", []*secret.Secret{long, short}, ErrBind},
		"EXP-AUTH-4002 everywhere, a closed token":    {"0.0.0.0:0", []*secret.Secret{closed}, ErrToken},
		"EXP-AUTH-4002 everywhere, nil":               {"0.0.0.0:0", []*secret.Secret{nil}, ErrToken},
		"EXP-AUTH-4002 a name":                        {"localhost:0", []*secret.Secret{long}, ErrBind},
		"EXP-AUTH-4002 a name that looks like one":    {"127.1:0", []*secret.Secret{long}, ErrBind},
		"EXP-AUTH-4002 no port":                       {"127.0.0.1", []*secret.Secret{long}, ErrBind},
		"EXP-AUTH-4002 everywhere, long enough":       {"0.0.0.0:0", []*secret.Secret{long}, nil},
		"EXP-AUTH-4002 this machine, no token":        {"127.0.0.1:0", nil, nil},
		"EXP-AUTH-4002 this machine, a short token":   {"127.0.0.1:0", []*secret.Secret{short}, nil},
		"EXP-AUTH-4002 this machine, another address": {"127.0.0.2:0", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Listen(context.Background(), tt.address, tt.tokens...)
			if l != nil {
				defer l.Close()
			}
			if !errors.Is(err, tt.want) || (l != nil) != (tt.want == nil) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "aaa") {
				t.Error(err)
			}
		})
	}
}
