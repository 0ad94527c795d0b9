// Package bearer lets HTTP requests through that carry a token (RFC 6750), and adds the token to requests that go out. The
// token stays a [secret.Secret]: it is compared in constant time, and no log, error or answer has a part of it.
//
//	guard, err := bearer.New(bearer.Config{
//		Realm:  "pool-managerd",
//		Tokens: []bearer.Token{{Name: "queen-rbee", Secret: token}},
//		Open:   []string{"/health"},
//	})
//	listener, err := bearer.Listen(ctx, "127.0.0.1:9200", token)
//	err = http.Serve(listener, guard.Handler(mux))
//
//	client := http.Client{Transport: transport} // from NewTransport: one origin, and no other
//
// What is not promised: a token is a header value on its way, a string that net/http copies and nobody can wipe. Nothing
// here encrypts: put TLS in front of whatever leaves the machine. And it knows clients by the address that they connect
// from, so that those behind one proxy are one client; X-Forwarded-For, which anybody can write, is not read.
//
// It is a package of its own so that a service without HTTP does not link net/http.
package bearer
