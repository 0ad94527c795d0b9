package rego

// Code is a reason code of the default rules.
type Code struct {
	Code    string
	Meaning string
}

// Codes lists the reason codes that the default rules give, sorted. The list is closed: a site's own rules choose
// codes that are not in it.
func Codes() []Code {
	return []Code{
		{"environment_source", "a warning beside an allow: the secret comes from an environment variable"},
		{"extended_acl", "the file carries an extended ACL, so its mode does not tell who has access"},
		{"filesystem_not_trusted", "the file system's modes and owners are not authoritative, or it is unknown"},
		{"foreign_owner", "the file belongs neither to root nor to the service"},
		{"hard_linked", "the file has another number of links than one"},
		{"identity_not_proven", "the grant requires a uid or unit that the process is not, or cannot prove"},
		{"identity_unknown", "at rollout: the grant requires a uid or unit that the descriptor does not tell"},
		{"invalid_request", "API version, action, uid, phase or facts are not those of the contract"},
		{"mode_too_open", "the mode gives group or others access"},
		{"no_grant", "no grant names this service, action and reference"},
		{"not_regular", "the path leads to something other than a regular file"},
		{"origin_extended_acl", "extended_acl, for the file that a credential is copied from"},
		{"origin_filesystem_not_trusted", "filesystem_not_trusted, for the file that a credential is copied from"},
		{"origin_foreign_owner", "foreign_owner, for the file that a credential is copied from"},
		{"origin_hard_linked", "hard_linked, for the file that a credential is copied from"},
		{"origin_mode_too_open", "mode_too_open, for the file that a credential is copied from"},
		{"origin_not_regular", "not_regular, for the file that a credential is copied from"},
		{"origin_outside_grant", "the host path that a credential is copied from is not in the grant"},
		{"origin_symlink_not_granted", "symlink_not_granted, for the file that a credential is copied from"},
		{"origin_too_large", "too_large, for the file that a credential is copied from"},
		{"origin_writable_by_others", "writable_by_others, for the file that a credential is copied from"},
		{"outside_grant", "the real path, every symbolic link followed, is not in the grant"},
		{"readable_by_others", "others than root and the service can read the credential"},
		{"symlink_not_granted", "the last component is a symbolic link and the grant does not say that it may be"},
		{"too_large", "more bytes than 1 MiB, 1 KiB for a key, or the grant's max_bytes"},
		{"weak_memory", "the process protects memory less than the grant's min_memory asks"},
		{"writable_by_others", "others than root and the service can change or replace the file"},
	}
}
