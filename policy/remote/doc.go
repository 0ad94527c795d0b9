// Package remote keeps an engine at the newest bundle that a web server or an object store has. A service opts in with one
// call of [Watch] where it would call policy.Watch for a file. Use it where nothing else brings bundles to the host; a
// service that does not import it links no net/http.
//
// Nothing is believed for where it came from. Each bundle is taken by the [policy.Verifier] alone: signature, name, expiry
// and revision. Whoever is the server can then do no more than to withhold a newer bundle, and to say that there is none;
// not_after is when that ends. That the server is not reached, and since when, is in [Status].
//
// Three things are of a server's making and bounded here: how long an answer takes (WatchConfig.Timeout), how large it
// is (64 KiB of headers, 16 KiB of signature, WatchConfig.MaxBytes of bundle, while it is read), and where it leads (5
// redirects, each to the same scheme). Nothing is decompressed on the way: the signature is over the bytes as they came.
//
// # What a server has to do
//
// Serve two files: the bundle, and its signature at the same address with [policy.SignatureSuffix]. The signature is asked
// for every WatchConfig.Interval, with If-None-Match and If-Modified-Since; the bundle only when that was another one.
// Answers are 200 or 304, and a server that does not know conditions gives 200 always, which costs a few hundred bytes a
// time. Put the bundle there before its signature. A pair that does not fit together, as between the two, is tried again.
//
// # The last good bundle
//
// Whatever comes into force is kept before in WatchConfig.Cache, so that a service starts while the server is down. What
// is kept is verified anew at each start, its expiry too. A crash or a power failure at any moment leaves the old pair or
// the new one. Several processes with the same configuration may share the directory.
//
// A full disk does not keep a policy from coming into force: it may be one that takes access away. It is in force then, is
// not kept, and [Status] says so (ErrCache) until it is.
//
// # Time
//
// A server that fails is asked again after a random part of a time that doubles, at most twice the interval, and not before
// its Retry-After, of which an hour counts. The clock of the host may be wrong: it decides about expiry alone, while waits
// are measured on the monotonic clock and dates of a server are compared with its own Date.
package remote
