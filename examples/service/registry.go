package service

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/llorch/secrets-management/bearer"
)

// Node is what registers.
type Node struct {
	ID      string    `json:"id"`
	Address string    `json:"address"`
	Seen    time.Time `json:"seen,omitzero"`
}

// Registry is who registered lately. It is safe for concurrent use. The zero value is empty and ready.
type Registry struct {
	mu    sync.Mutex
	nodes map[string]Node
}

const (
	maxNodes = 1024
	maxField = 255
	stale    = 15 * time.Minute
)

// Handler registers the nodes that one caller sends, and none of anybody else. What is what registers, in words.
func (g *Registry) Handler(caller, what string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if bearer.Caller(r.Context()) != caller {
			http.Error(w, "for "+caller+" alone", http.StatusForbidden)
			return
		}
		var n Node
		if !Read(w, r, &n) {
			return
		}
		if !g.Add(n) {
			http.Error(w, "no such "+what+" can be registered", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// Add reports whether n is a node, and there is room for it. One that registers again is the same one.
func (g *Registry) Add(n Node) bool {
	if n.ID == "" || len(n.ID) > maxField || n.Address == "" || len(n.Address) > maxField {
		return false
	}
	n.Seen = time.Now().UTC()
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.nodes, func(_ string, old Node) bool { return n.Seen.Sub(old.Seen) > stale })
	if _, known := g.nodes[n.ID]; !known && len(g.nodes) >= maxNodes {
		return false
	}
	if g.nodes == nil {
		g.nodes = map[string]Node{}
	}
	g.nodes[n.ID] = n
	return true
}

// List is the nodes by their ids, never nil.
func (g *Registry) List() []Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Node, 0, len(g.nodes))
	for _, id := range slices.Sorted(maps.Keys(g.nodes)) {
		list = append(list, g.nodes[id])
	}
	return list
}
