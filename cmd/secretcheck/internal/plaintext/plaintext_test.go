package plaintext

import "testing"

// TestNames: CHK-1107. What is called a secret, and what is not.
func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"DB_PASSWORD": true, "db-password": true, "dbPassword": true, "PGPASSWORD": false, "API_KEY": true, "apiKey": true, "APIKEY": true, "AWS_SECRET_ACCESS_KEY": true,
		"token": true, "GITHUB_TOKEN": true, "client.secret": true, "session-cookie": true, "MYSQL_PWD": true,
		"AWS_ACCESS_KEY_ID": false, "DB_PASSWORD_FILE": false, "TOKEN_EXPIRY": false, "secretName": false, "KEY": false, "PUBLIC_KEY": false, "PARTITION_KEY": false,
		"": false, "---": false, "tokenizer": false, "PASSWORD_MIN_LENGTH": false,
	} {
		if Name(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	for address, want := range map[string]bool{
		"redis://:p@h": true, "see x://u:p@h/x": true, "a://b c://u:p@h": true, "x://u:$(P)@h": false, "x://u:<p>@h": false, "x://h:80/a@b": false,
		"x://u@h": false, "x://u:@h": false, "://u:p@h": false, "x://h/p:q@r": false, "": false, "x://": false, "x://u:p": false,
	} {
		if Address(address) != want {
			t.Errorf("%q: %v", address, !want)
		}
	}
	for content, want := range map[string]bool{
		"hunter2": true, "": false, "true": false, "No": false, "8080": false, "/run/secret": false, "$(OTHER)": false, "a${B}": false, "none": false, "canary": true,
	} {
		if Value(content) != want {
			t.Errorf("%q: %v", content, !want)
		}
	}
}
