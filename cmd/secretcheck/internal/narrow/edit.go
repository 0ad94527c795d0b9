package narrow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// node is a JSON value with its place in the text.
type node struct {
	from, to int
	names    []string // of an object's members
	items    []node   // of an object or a list
}

func (n *node) member(name string) *node {
	if i := slices.Index(n.names, name); i >= 0 {
		return &n.items[i]
	}
	return nil
}

// scan reads a value that begins at i. The text is known to be JSON.
func scan(text []byte, i int) (node, error) {
	i = skip(text, i)
	n := node{from: i}
	if i >= len(text) {
		return n, errors.New("the JSON ends too early")
	}
	if text[i] != '{' && text[i] != '[' {
		d := json.NewDecoder(bytes.NewReader(text[i:]))
		if _, err := d.Token(); err != nil {
			return n, err
		}
		n.to = i + int(d.InputOffset())
		return n, nil
	}
	object, closing := text[i] == '{', text[i]+2
	for i = skip(text, i+1); i < len(text) && text[i] != closing; i = skip(text, i) {
		if object {
			name, err := scan(text, i)
			if err != nil {
				return n, err
			}
			var s string
			if err := json.Unmarshal(text[name.from:name.to], &s); err != nil {
				return n, err
			}
			n.names = append(n.names, s)
			i = skip(text, name.to)
		}
		item, err := scan(text, i)
		if err != nil {
			return n, err
		}
		n.items = append(n.items, item)
		i = item.to
	}
	n.to = i + 1
	return n, nil
}

// skip goes over what separates values.
func skip(text []byte, i int) int {
	for i < len(text) && strings.IndexByte(" \t\r\n,:", text[i]) >= 0 {
		i++
	}
	return i
}

// cut is a piece of text that is taken out.
type cut struct{ from, to int }

// Without takes what is idle out of grants data, and nothing else: what remains is as its author wrote it. It also gives the
// difference as a patch for a file of that name, with three lines around each change.
func Without(data []byte, idle []Idle, name string) (narrower []byte, patch string, err error) {
	root, err := scan(data, 0)
	if err != nil {
		return nil, "", err
	}
	var cuts []cut
	services := root.member("secrets").member("services")
	for service, of := range byService(idle) {
		list := services.member(service)
		if list == nil {
			return nil, "", fmt.Errorf("service %q is not in the data", service)
		}
		cuts = append(cuts, of.cuts(data, list)...)
	}
	slices.SortFunc(cuts, func(a, b cut) int { return a.from - b.from })
	at := 0
	for _, c := range cuts {
		narrower = append(narrower, data[at:c.from]...)
		at = c.to
	}
	return append(narrower, data[at:]...), diff(data, cuts, name), nil
}

type idleOf []Idle

func byService(idle []Idle) map[string]idleOf {
	m := map[string]idleOf{}
	for _, i := range idle {
		m[i.Service] = append(m[i.Service], i)
	}
	return m
}

func (of idleOf) cuts(data []byte, list *node) (cuts []cut) {
	gone := make([]bool, len(list.items))
	for k := range list.items {
		g := &list.items[k]
		var id string
		if n := g.member("id"); n != nil {
			_ = json.Unmarshal(data[n.from:n.to], &id) // it was parsed as a grant
		}
		for _, i := range of {
			switch {
			case i.Grant != id:
			case i.Field == "":
				gone[k] = true
			default:
				cuts = append(cuts, items(data, g.member(i.Field), i.Items)...)
			}
		}
	}
	return append(cuts, without(list, gone)...)
}

func items(data []byte, list *node, values []string) []cut {
	gone := make([]bool, len(list.items))
	for k, n := range list.items {
		var s string
		_ = json.Unmarshal(data[n.from:n.to], &s) // likewise
		gone[k] = slices.Contains(values, s)
	}
	return without(list, gone)
}

// without takes items of a list out, with the commas that belong to them.
func without(list *node, gone []bool) (cuts []cut) {
	if !slices.Contains(gone, true) {
		return nil
	}
	if !slices.Contains(gone, false) {
		return []cut{{list.from + 1, list.to - 1}}
	}
	for k := 0; k < len(gone); k++ {
		if !gone[k] {
			continue
		}
		end := k
		for end < len(gone) && gone[end] {
			end++
		}
		if end < len(gone) {
			cuts = append(cuts, cut{list.items[k].from, list.items[end].from})
		} else {
			cuts = append(cuts, cut{list.items[k-1].to, list.items[end-1].to})
		}
		k = end
	}
	return cuts
}
