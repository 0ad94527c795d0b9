package spelling

import "testing"

func TestClosest(t *testing.T) {
	known := []string{"LoadCredential", "SetCredential", "LoadCredentialEncrypted", "User", "site_reasons"}
	for word, want := range map[string]string{
		"LoadCredentials":         "LoadCredential",
		"Loadcredential":          "LoadCredential",
		"LaodCredential":          "LoadCredential",
		"LoadCredentialEncrytped": "LoadCredentialEncrypted",
		"SetCredentail":           "SetCredential",
		"user":                    "User",
		"Users":                   "User",
		"site_reason":             "site_reasons",
		"site_raesons":            "site_reasons",
		"sitereasons":             "site_reasons",
		"Type":                    "",
		"UMask":                   "",
		"Nice":                    "",
		"":                        "",
		"reasons":                 "",
	} {
		if got := Closest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
