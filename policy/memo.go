package policy

import (
	"sync"
	"sync/atomic"
)

// Bounds of what an activation remembers, in bytes as remembered.cost counts them.
const (
	defaultMemoBytes = 1 << 20
	maxMemoBytes     = 64 << 20
	readBytes        = 256 << 10 // answers of the guest that were parsed
)

// memo remembers decisions under keys that are compared byte for byte. It is safe for concurrent use. A hit takes no lock
// once its entry has settled, and does not allocate. It never holds more than its limit; when it would, everything that
// was not asked for since the last time is forgotten, so that a flood of requests that come once does not drive out those
// that come again.
type memo struct {
	limit   int
	settled atomic.Pointer[map[string]*remembered] // never changed once it is here

	mu    sync.Mutex
	fresh map[string]*remembered // came after settled
	hits  int                    // in fresh, since the last settling
	bytes int                    // of both maps
}

// remembered is one entry of a memo.
type remembered struct {
	decision Decision
	cost     int
	used     atomic.Bool // since room was made the last time
}

func newMemo(limit int) *memo {
	m := &memo{limit: limit, fresh: map[string]*remembered{}}
	m.settled.Store(&map[string]*remembered{})
	return m
}

func (m *memo) get(key []byte) (Decision, bool) {
	e, ok := (*m.settled.Load())[string(key)]
	if !ok {
		if e = m.getFresh(key); e == nil {
			return Decision{}, false
		}
	}
	if !e.used.Load() { // written once only, so that readers on many processors do not take it from each other
		e.used.Store(true)
	}
	return e.decision, true
}

func (m *memo) getFresh(key []byte) *remembered {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.fresh[string(key)]
	if e == nil {
		return nil
	}
	if m.hits++; m.worthSettling(m.hits) {
		m.settleLocked()
	}
	return e
}

func (m *memo) put(key []byte, d Decision) {
	e := &remembered{decision: d, cost: cost(key, d)}
	if e.cost > m.limit/8 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh[string(key)] != nil || (*m.settled.Load())[string(key)] != nil {
		return // another goroutine asked the same
	}
	if m.bytes+e.cost > m.limit {
		m.makeRoomLocked()
	}
	m.fresh[string(key)] = e
	m.bytes += e.cost
	if m.worthSettling(len(m.fresh)) {
		m.settleLocked()
	}
}

// worthSettling weighs what settling costs, which grows with what has settled, against n uses of the lock.
func (m *memo) worthSettling(n int) bool { return n > 4+len(*m.settled.Load())/4 }

// settleLocked moves what is fresh to where it is read without a lock.
func (m *memo) settleLocked() { m.keepLocked(func(*remembered) bool { return true }) }

// makeRoomLocked forgets everything that was not used, and of the rest what goes beyond half of the limit.
func (m *memo) makeRoomLocked() {
	kept := 0
	m.keepLocked(func(e *remembered) bool {
		if !e.used.Swap(false) || kept+e.cost > m.limit/2 {
			return false
		}
		kept += e.cost
		return true
	})
}

func (m *memo) keepLocked(keep func(*remembered) bool) {
	next := map[string]*remembered{}
	m.bytes = 0
	for _, entries := range []map[string]*remembered{*m.settled.Load(), m.fresh} {
		for key, e := range entries {
			if keep(e) {
				next[key] = e
				m.bytes += e.cost
			}
		}
	}
	m.settled.Store(&next)
	m.fresh, m.hits = map[string]*remembered{}, 0
}

// cost is about what an entry takes of memory.
func cost(key []byte, d Decision) int {
	const entry, reason, grant = 256, 64, 16 // with places in maps
	n := entry + len(key)
	if d.said == nil {
		return n
	}
	for _, r := range d.said.reasons {
		n += reason + len(r.Code) + len(r.Message) + len(r.Severity) + len(r.Fix)
	}
	for _, id := range d.said.grants {
		n += grant + len(id)
	}
	return n
}
