package unused

import (
	"testing"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/descriptor"
	"github.com/llorch/secrets-management/policy"
)

// TestGrants: CHK-1131. Which grants nobody needs, load by load.
func TestGrants(t *testing.T) {
	file := policy.Grant{ID: "g", Actions: []policy.Action{policy.LoadSecret}, Source: policy.SourceFile, Paths: []string{"/run/secrets/a"}, Dirs: []string{"/d"}}
	env := policy.Grant{ID: "g", Actions: []policy.Action{policy.LoadKey}, Source: policy.SourceEnv, Names: []string{"A"}}
	derive := policy.Grant{ID: "g", Actions: []policy.Action{policy.DeriveKey}, Source: policy.SourceCredential, Names: []string{"c"}, Purposes: []string{"p-v1"}}
	for name, c := range map[string]struct {
		grant  policy.Grant
		load   descriptor.Load
		unused bool
	}{
		"its path":              {file, descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/a"}, false},
		"beneath its directory": {file, descriptor.Load{Source: policy.SourceFile, Path: "/d/e/f"}, false},
		"every file of one":     {file, descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/*"}, false},
		"another path":          {file, descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/b"}, true},
		"beside its directory":  {file, descriptor.Load{Source: policy.SourceFile, Path: "/dd/e"}, true},
		"another source":        {file, descriptor.Load{Source: policy.SourceEnv, Name: "/run/secrets/a"}, true},
		"another action":        {file, descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/a", Action: policy.LoadKey}, true},
		"its action":            {file, descriptor.Load{Source: policy.SourceFile, Path: "/run/secrets/a", Action: policy.LoadSecret}, false},
		"its variable":          {env, descriptor.Load{Source: policy.SourceEnv, Name: "A"}, false},
		"another variable":      {env, descriptor.Load{Source: policy.SourceEnv, Name: "B"}, true},
		"names not known":       {env, descriptor.Load{Source: policy.SourceEnv, Name: "*", Doubt: &descriptor.Doubt{Identity: true}}, false},
		"its purpose":           {derive, descriptor.Load{Source: policy.SourceCredential, Name: "c", Action: policy.DeriveKey, Purpose: "p-v1"}, false},
		"another purpose":       {derive, descriptor.Load{Source: policy.SourceCredential, Name: "c", Action: policy.DeriveKey, Purpose: "p-v2"}, true},
		"an action left open":   {derive, descriptor.Load{Source: policy.SourceCredential, Name: "c"}, true},
		"as another container": {file, descriptor.Load{Source: policy.SourceFile, Path: "/x", Also: []descriptor.Load{
			{Source: policy.SourceFile, Path: "/run/secrets/a"},
		}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			grants := &policy.Grants{Services: map[string][]policy.Grant{"s": {c.grant}}}
			load := c.load
			load.Service = "s"
			if got := Grants("policy", grants, []descriptor.Load{load}); (len(got) == 1) != c.unused {
				t.Errorf("%+v", got)
			}
			load.Service = "other"
			if got := Grants("policy", grants, []descriptor.Load{load}); len(got) != 1 || got[0].Service != "s" || got[0].Severity != policy.SeverityWarning {
				t.Errorf("of another service: %+v", got)
			}
		})
	}
}
