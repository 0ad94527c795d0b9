package main

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/llorch/secrets-management/policy"
)

// opaInput is a request as OPA's evaluator takes it without any parsing.
func opaInput(r *policy.Request) ast.Value {
	s, a, c := &r.Subject, &r.Subject.Attested, &r.Context
	return object(
		"api", text("v1"),
		"subject", object(
			"service", text(s.Service), "container", text(s.Container), "uid", number(s.UID), "gid", number(s.GID),
			"unit", text(s.Unit), "exe", text(s.Exe), "spiffe_id", text(s.SPIFFEID),
			"attested", object(
				"uid", text(a.UID), "gid", text(a.GID), "unit", text(a.Unit), "exe", text(a.Exe), "spiffe_id", text(a.SPIFFEID),
			),
		),
		"action", text(string(r.Action)),
		"resource", opaResource(&r.Resource),
		"context", object(
			"phase", text(string(c.Phase)), "host", text(c.Host), "environment", text(c.Environment), "memory", text(string(c.Memory)),
		),
	).Value
}

func opaResource(s *policy.Resource) *ast.Term {
	above, links := texts(s.Above), texts(s.Links)
	return object(
		"source", text(string(s.Source)), "path", text(s.Path), "resolved", text(s.Resolved), "ancestors", ast.ArrayTerm(above...),
		"links", ast.ArrayTerm(links...),
		"name", text(s.Name), "purpose", text(s.Purpose), "origin", text(s.Origin), "facts", text(string(s.Facts)),
		"file", opaFile(&s.File), "origin_file", opaFile(&s.OriginFile),
	)
}

func texts(values []string) []*ast.Term {
	terms := make([]*ast.Term, len(values))
	for i, v := range values {
		terms[i] = text(v)
	}
	return terms
}

func opaFile(f *policy.File) *ast.Term {
	return object(
		"type", text(f.Type), "mode", number(int64(f.Mode)), "mode_octal", text(fmt.Sprintf("%04o", f.Mode)),
		"group_bits", number(int64(f.Mode>>3&7)), "other_bits", number(int64(f.Mode&7)), "uid", number(f.UID), "gid", number(f.GID),
		"owner_is_root", flag(f.OwnerIsRoot), "owner_is_me", flag(f.OwnerIsMe), "size", number(f.Size), "nlink", number(f.NLink),
		"filesystem", text(f.Filesystem), "mount", object(
			"read_only", flag(f.Mount.ReadOnly), "nosuid", flag(f.Mount.NoSUID), "nodev", flag(f.Mount.NoDev), "noexec", flag(f.Mount.NoExec),
		),
		"immutable", flag(f.Immutable), "append_only", flag(f.AppendOnly), "symlinks", number(int64(f.Symlinks)), "final_symlink", flag(f.FinalSymlink), "acl", flag(f.ACL),
		"readers", opaPrincipals(&f.Readers), "writers", opaPrincipals(&f.Writers),
	)
}

func opaPrincipals(p *policy.Principals) *ast.Term {
	ids := func(ids []int64) *ast.Term {
		terms := make([]*ast.Term, len(ids))
		for i, id := range ids {
			terms[i] = number(id)
		}
		return ast.ArrayTerm(terms...)
	}
	return object("uids", ids(p.UIDs), "gids", ids(p.GIDs), "everyone", flag(p.Everyone))
}

func text(s string) *ast.Term  { return ast.InternedTerm(s) }
func number(n int64) *ast.Term { return ast.InternedTerm(int(n)) }
func flag(v bool) *ast.Term    { return ast.InternedTerm(v) }

// object takes names and terms by turns.
func object(members ...any) *ast.Term {
	items := make([][2]*ast.Term, 0, 32)
	for i := 0; i+1 < len(members); i += 2 {
		items = append(items, ast.Item(text(members[i].(string)), members[i+1].(*ast.Term))) //nolint:errcheck,forcetypeassert // see the calls
	}
	return ast.ObjectTerm(items...)
}
