package bearer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// recorder stands for the network.
type recorder struct {
	sent []*http.Request
	fail error
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.sent = append(r.sent, q)
	return &http.Response{StatusCode: 200, Body: http.NoBody, Request: q}, r.fail
}

// TestTransportOrigins: SVC-7005. The token is for one origin, which nobody on the way can read.
func TestTransportOrigins(t *testing.T) {
	for origin, want := range map[string]error{
		"https://pool.example.org": nil, "https://pool.example.org:9200": nil, "https://pool.example.org/": nil,
		"http://127.0.0.1:9200": nil, "http://127.8.8.8": nil, "http://[::1]:9200": nil, "http://[::ffff:127.0.0.1]": nil,

		"http://pool.example.org": ErrCleartext, "http://localhost:9200": ErrCleartext, "http://192.0.2.1": ErrCleartext,
		"http://127.0.0.1.example.org": ErrCleartext, "http://0.0.0.0": ErrCleartext, "http://[::]": ErrCleartext, "http://2130706433": ErrCleartext,
		"": ErrConfig, "pool": ErrConfig, "//pool": ErrConfig, "ftp://pool": ErrConfig, "https://": ErrConfig, "https://u:fake-password@pool": ErrConfig,
		"https://pool/path": ErrConfig, "https://pool?x": ErrConfig, "https://pool#x": ErrConfig, "https:pool": ErrConfig, "HTTPS://%zz": ErrConfig,
	} {
		_, err := Client{Origin: origin, Token: tokenOf(t, queenToken)}.Transport()
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", origin, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "fake") {
			t.Errorf("%q: %v", origin, err)
		}
	}
	if _, err := (Client{Origin: "http://pool:9200", Token: tokenOf(t, queenToken), Cleartext: true}).Transport(); err != nil {
		t.Errorf("what was allowed: %v", err)
	}
	closed := tokenOf(t, queenToken)
	closed.Close()
	for name, c := range map[string]Client{
		"no token": {Origin: "https://pool"}, "closed": {Origin: "https://pool", Token: closed},
		"line feed": {Origin: "https://pool", Token: tokenOf(t, "fake\r\nX: y")},
	} {
		if _, err := c.Transport(); !errors.Is(err, ErrToken) || strings.Contains(err.Error(), "fake") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransportRequests: SVC-7005. Which requests get it.
func TestTransportRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		url    string
		change func(*http.Request)
		want   error
	}{
		"the origin":          {"https://pool.example.org/v2/nodes", nil, nil},
		"its port":            {"https://pool.example.org:443/", nil, nil},
		"its case":            {"https://POOL.example.org/", nil, nil},
		"another host":        {"https://other.example.org/", nil, ErrOrigin},
		"a host below":        {"https://a.pool.example.org/", nil, ErrOrigin},
		"a host that ends so": {"https://evilpool.example.org/", nil, ErrOrigin},
		"a dot behind":        {"https://pool.example.org./", nil, ErrOrigin},
		"another port":        {"https://pool.example.org:8443/", nil, ErrOrigin},
		"in the clear":        {"http://pool.example.org/", nil, ErrOrigin},
		"in the clear on 443": {"http://pool.example.org:443/", nil, ErrOrigin},
		"another Host":        {"https://pool.example.org/", func(r *http.Request) { r.Host = "other" }, ErrOrigin},
		"no URL":              {"https://pool.example.org/", func(r *http.Request) { r.URL = nil }, ErrOrigin},
		"a header":            {"https://pool.example.org/", func(r *http.Request) { r.Header.Set("Authorization", "Basic eDp5") }, ErrHeader},
		"an empty header":     {"https://pool.example.org/", func(r *http.Request) { r.Header["Authorization"] = []string{} }, ErrHeader},
		"a password":          {"https://u:p@pool.example.org/", nil, ErrHeader},
		"no headers at all":   {"https://pool.example.org/", func(r *http.Request) { r.Header = nil }, nil},
	} {
		t.Run("SVC-7005/"+name, func(t *testing.T) {
			var net recorder
			transport, err := Client{Origin: "https://pool.example.org", Token: tokenOf(t, queenToken), Base: &net}.Transport()
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(http.MethodPost, tt.url, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			body := &closer{Reader: strings.NewReader("x")}
			r.Body = body
			if tt.change != nil {
				tt.change(r)
			}
			before := fmt.Sprint(r.Header)
			res, err := transport.RoundTrip(r) //nolint:bodyclose // http.NoBody
			if !errors.Is(err, tt.want) || (len(net.sent) == 0) != (tt.want != nil) {
				t.Fatalf("error %v, want %v; %d were sent", err, tt.want, len(net.sent))
			}
			if err != nil {
				if !body.closed || strings.Contains(err.Error(), queenToken) {
					t.Errorf("body closed %v, error %v", body.closed, err)
				}
				return
			}
			if got := net.sent[0].Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+queenToken {
				t.Errorf("sent %d headers", len(got))
			}
			if fmt.Sprint(r.Header) != before || res.Request != r {
				t.Error("the caller's own request has the token, or the answer's")
			}
		})
	}
}

type closer struct {
	io.Reader

	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

// TestTransportAfterClose: SVC-7005.
func TestTransportAfterClose(t *testing.T) {
	var net recorder
	token := tokenOf(t, queenToken)
	transport, err := Client{Origin: "https://pool", Token: token, Base: &net}.Transport()
	if err != nil {
		t.Fatal(err)
	}
	token.Close()
	r := httptest.NewRequest(http.MethodGet, "https://pool/", http.NoBody)
	if _, err := transport.RoundTrip(r); !errors.Is(err, ErrToken) || len(net.sent) != 0 { //nolint:bodyclose // there is none
		t.Errorf("error %v, %d were sent", err, len(net.sent))
	}
	net.fail = errors.New("no route")
	open, err := Client{Origin: "https://pool", Token: tokenOf(t, queenToken), Base: &net}.Transport()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.RoundTrip(httptest.NewRequest(http.MethodGet, "https://pool/", http.NoBody)); !errors.Is(err, net.fail) { //nolint:bodyclose // http.NoBody
		t.Errorf("the network's own error is %v", err)
	}
}

// TestRedirects: SVC-7005. With a control: the same client follows a redirect within the origin, with the token.
func TestRedirects(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, "elsewhere "+r.Header.Get("Authorization"))
	}))
	defer other.Close()
	var to string
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
		if r.URL.Path == "/from" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	}))
	defer origin.Close()
	transport, err := Client{Origin: origin.URL, Token: tokenOf(t, queenToken)}.Transport()
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: transport}
	for target, want := range map[string]string{
		"/to":             "/from Bearer " + queenToken + ", /to Bearer " + queenToken,
		other.URL + "/to": "/from Bearer " + queenToken,
		"http://localhost:" + origin.URL[strings.LastIndex(origin.URL, ":")+1:] + "/to": "/from Bearer " + queenToken,
	} {
		got, to = nil, target
		res, err := client.Post(origin.URL+"/from", "text/plain", strings.NewReader("what was registered"))
		if err == nil {
			res.Body.Close()
		}
		if strings.Join(got, ", ") != want || (err == nil) != (target == "/to") || err != nil && !errors.Is(err, ErrOrigin) {
			t.Errorf("to %s: %q, error %v", target, got, err)
		}
		if err != nil && strings.Contains(err.Error(), queenToken) {
			t.Error("the error holds the token")
		}
	}
}
