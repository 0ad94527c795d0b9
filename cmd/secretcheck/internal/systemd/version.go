package systemd

// Oldest is the first version of systemd that has credentials, Newest the last one that this reader was compared with.
const (
	Oldest = 247
	Newest = 257
)

// sinceRename is the version from which an imported credential can get a new name.
const sinceRename = 257

// since is the version of systemd that has a setting.
func since(key string) int {
	switch key {
	case keyLoadEncrypted, keySetEncrypted:
		return 250
	case keyImport:
		return 254
	}
	return 0
}
