package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// grantFields lists the fields of a grant in the order in which they are read: the id for errors' sake, and the source
// before the names, whose form depends on it.
func grantFields() []string {
	return []string{
		"id", "source", "actions", "paths", "dirs", "names", "purposes", "relax", "require", "min_length", "max_bytes", "min_memory",
	}
}

// requireFields lists the members of require.
func requireFields() []string { return []string{"uid", "unit"} }

// relaxFields lists the members of relax.
func relaxFields() []string {
	return []string{"owner", "group_read", "world_read", "symlink", "filesystem"}
}

// Names as they may be written in a grant.
var (
	grantID        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	variableName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	unitName       = regexp.MustCompile(`^[A-Za-z0-9:_.\\-][A-Za-z0-9:_.\\@-]*\.service$`)
	filesystemName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
)

// fits reports whether a name is written so, in at most so many bytes. Counted repetition would take each process that
// starts a millisecond to compile.
func fits(form *regexp.Regexp, most int, s string) bool { return len(s) <= most && form.MatchString(s) }

// set decodes one field and checks it for itself.
func (g *Grant) set(field string, raw json.RawMessage) error {
	switch field {
	case "id":
		if err := decode(raw, '"', &g.ID); err != nil {
			return err
		}
		return g.checkID()
	case "source":
		if err := decode(raw, '"', &g.Source); err != nil {
			return err
		}
		return oneOf(g.Source, SourceFile, SourceCredential, SourceEnv)
	case "actions":
		return parseList(raw, &g.Actions, func(a Action) error { return oneOf(a, LoadSecret, LoadKey, DeriveKey) })
	case "paths":
		return parseList(raw, &g.Paths, checkPath)
	case "dirs":
		return parseList(raw, &g.Dirs, checkPath)
	case "names":
		return parseList(raw, &g.Names, g.checkName)
	case "purposes":
		return parseList(raw, &g.Purposes, checkPurpose)
	case "relax":
		return g.Relax.parse(raw)
	case "require":
		return g.Require.parse(raw)
	case "min_length":
		return parseNumber(raw, &g.MinLength, 0, MaxSecretBytes)
	case "max_bytes":
		return parseNumber(raw, &g.MaxBytes, 1, MaxSecretBytes)
	case "min_memory":
		if err := decode(raw, '"', &g.MinMemory); err != nil {
			return err
		}
		return oneOf(g.MinMemory, MemorySecret, MemoryLocked, MemoryHeap)
	}
	return errors.New("not handled") // unreachable while the cases are those of grantFields()
}

// check reports what contradicts itself or can never match.
func (g *Grant) check() error {
	places := len(g.Paths) + len(g.Dirs)
	derives := slices.Contains(g.Actions, DeriveKey)
	switch {
	case len(g.Actions) == 0:
		return errors.New(`field "actions": a grant without an action never matches`)
	case g.Source == SourceFile && places == 0:
		return errors.New(`field "paths": a grant for files without paths or dirs never matches`)
	case g.Source == SourceFile && len(g.Names) > 0:
		return errors.New(`field "names": a file has no name; list its path in paths`)
	case g.Source != SourceFile && len(g.Names) == 0:
		return fmt.Errorf(`field "names": a grant for source %q without names never matches`, g.Source)
	case g.Source == SourceEnv && places > 0:
		return errors.New(`field "paths": a variable has no path`)
	case g.Source == SourceEnv && g.Relax != (Relax{}):
		return errors.New(`field "relax": there is nothing to relax for a variable`)
	case g.Source == SourceCredential && g.Relax.Owner != nil:
		return errors.New(`field "relax": owner: a credential belongs to root or the service, and what it is copied from to root`)
	case derives && len(g.Purposes) == 0:
		return errors.New(`field "purposes": action "derive_key" without purposes never matches`)
	case !derives && len(g.Purposes) > 0:
		return errors.New(`field "purposes": only action "derive_key" has a purpose`)
	case g.MaxBytes > 0 && g.MinLength > g.MaxBytes:
		return errors.New(`field "min_length": more than max_bytes, so nothing can be loaded`)
	}
	return nil
}

// parse decodes what is relaxed.
func (r *Relax) parse(raw json.RawMessage) error {
	members, err := object(raw, relaxFields()...)
	if err != nil {
		return err
	}
	for _, field := range relaxFields() {
		value, ok := members[field]
		if !ok {
			continue
		}
		if err := r.set(field, value); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	return nil
}

// parse decodes what is required.
func (r *Require) parse(raw json.RawMessage) error {
	members, err := object(raw, requireFields()...)
	switch {
	case err != nil:
		return err
	case len(members) == 0:
		return errors.New("it requires nothing; leave it out")
	}
	if value, ok := members["uid"]; ok {
		r.UID = new(int64)
		if err := parseNumber(value, r.UID, 0, 1<<32-2); err != nil {
			return fmt.Errorf("uid: %w", err)
		}
	}
	if value, ok := members["unit"]; ok {
		if err := decode(value, '"', &r.Unit); err != nil {
			return fmt.Errorf("unit: %w", err)
		}
		if !fits(unitName, 255, r.Unit) || strings.HasSuffix(r.Unit, "@.service") {
			return fmt.Errorf("unit: %q is not the full name of a service that runs, such as %q", r.Unit, "queen-rbee.service")
		}
	}
	return nil
}

// set decodes one member of relax.
func (r *Relax) set(field string, raw json.RawMessage) error {
	switch field {
	case "owner":
		r.Owner = new(int64)
		return parseNumber(raw, r.Owner, 1, 1<<32-2) // root may always
	case "group_read":
		r.GroupRead = new(int64)
		return parseNumber(raw, r.GroupRead, 0, 1<<32-2)
	case "world_read":
		return parseTrue(raw, &r.WorldRead)
	case "symlink":
		return parseTrue(raw, &r.Symlink)
	case "filesystem":
		if err := decode(raw, '"', &r.Filesystem); err != nil {
			return err
		}
		if !fits(filesystemName, 32, r.Filesystem) || r.Filesystem == "unknown" {
			return fmt.Errorf("%q is not the name of a file system, such as %q", r.Filesystem, "nfs")
		}
	}
	return nil
}

// parseList decodes a list of strings that differ and pass check.
func parseList[T ~string](raw json.RawMessage, into *[]T, check func(T) error) error {
	var items []json.RawMessage
	if err := decode(raw, '[', &items); err != nil {
		return err
	}
	seen := make(map[T]bool, len(items))
	for _, raw := range items {
		var item T
		if err := decode(raw, '"', &item); err != nil {
			return err
		}
		if seen[item] {
			return fmt.Errorf("%q is listed twice", item)
		}
		if err := check(item); err != nil {
			return err
		}
		seen[item] = true
		*into = append(*into, item)
	}
	return nil
}

// parseNumber decodes a whole number within bounds.
func parseNumber(raw json.RawMessage, into *int64, least, most int64) error {
	if err := decode(raw, '0', into); err != nil {
		return err
	}
	if *into < least || *into > most {
		return fmt.Errorf("%d is not between %d and %d", *into, least, most)
	}
	return nil
}

// parseTrue decodes a switch. There is no false: what is not relaxed is left out.
func parseTrue(raw json.RawMessage, into *bool) error {
	if err := decode(raw, 't', into); err != nil {
		return err
	}
	if !*into {
		return errors.New("write true, or leave it out")
	}
	return nil
}

// oneOf reports a value outside of a closed list.
func oneOf[T ~string](value T, known ...T) error {
	if !slices.Contains(known, value) {
		return fmt.Errorf("unknown value %q; known: %q", value, known)
	}
	return nil
}

func (g *Grant) checkID() error {
	id := g.ID
	if !fits(grantID, 100, id) {
		g.ID = "" // errors give its number instead
		return fmt.Errorf("%q is not 1 to 100 letters, digits, dots, dashes and underscores", id)
	}
	return nil
}

// checkPath accepts the absolute, clean path of something beneath the root.
func checkPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("%q is not an absolute path", p)
	case p == "/":
		return errors.New(`"/" would be everything`)
	case path.Clean(p) != p:
		return fmt.Errorf("%q is not clean; write %q", p, path.Clean(p))
	case len(p) > 4095 || strings.ContainsFunc(p, isControl):
		return fmt.Errorf("%q is longer than a path can be, or holds a control character", p)
	}
	return nil
}

// checkName accepts what the source knows as a name. systemd's rule for credentials allows dots and spaces.
func (g *Grant) checkName(name string) error {
	if g.Source == SourceEnv && !fits(variableName, 255, name) {
		return fmt.Errorf("%q is not the name of a variable", name)
	}
	if !isPrintable(strings.ReplaceAll(name, " ", "_"), 255) || strings.ContainsAny(name, "/:") || name == "." || name == ".." {
		return fmt.Errorf("%q is not the name of a credential", name)
	}
	return nil
}

func checkPurpose(purpose string) error {
	if purpose == "" || utf8.RuneCountInString(purpose) > 255 || strings.ContainsFunc(purpose, isControl) {
		return fmt.Errorf("%q is not a label of 1 to 255 characters", purpose)
	}
	return nil
}

// isPrintable reports whether s is 1 to most printable ASCII characters without a space.
func isPrintable(s string, most int) bool {
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
