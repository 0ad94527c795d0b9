package descriptor

import (
	"strings"
	"testing"
	"testing/quick"
)

func TestSnippet(t *testing.T) {
	for line, want := range map[string]string{
		"LoadCredential=api_token:/etc/app/token":   "LoadCredential=api_token:/etc/app/token",
		"LoadCredential=api_token:/etc/app/token2":  "LoadCredential=api_token:…",
		"SetCredential=api_token:fake-not-a-secret": "SetCredential=api_token:…",
		"Environment=\"API_TOKEN=fake\" X=y":        "Environment=\"…\" …",
		"  - name: api_token":                       "- name: api_token",
		"    secretName: fake":                      "secretName: …",
		"fake-not-a-secret":                         "",
		"fake not=a secret":                         "",
		"":                                          "",
		"=x":                                        "",
		`"api_token" : "fake"`:                      `"api_token" : "…"`,
		"- {action: load, name: api_token}":         "- {action: …, …: api_token}",
	} {
		if got := Snippet(line, "api_token", "/etc/app/token"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// Nothing of a value shows but what is public.
func TestSnippetShowsNoValue(t *testing.T) {
	show := func(secret string) bool {
		secret = "q" + strings.Map(func(r rune) rune {
			if r < '!' || strings.ContainsRune(":,\"'{}[]", r) || r > '~' {
				return 'q'
			}
			return r
		}, secret)
		return !strings.Contains(Snippet("SetCredential=n:"+secret, "n"), secret)
	}
	if err := quick.Check(show, nil); err != nil {
		t.Error(err)
	}
}
