package service

import (
	"maps"
	"slices"
	"sync"
	"time"
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
