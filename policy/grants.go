package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrGrants is wrapped by every error about grants data.
var ErrGrants = errors.New("invalid grants")

// The hard limits on content, which no grant can raise.
const (
	MaxSecretBytes = 1 << 20 // a secret's file
	MaxKeyBytes    = 1 << 10 // a key's file
)

// Grants is the data of the default rules: who may load what. A service that is not in it may load nothing.
type Grants struct {
	Services map[string][]Grant // by the subject's service
}

// Grant lets one service do some actions on some references. Several grants add up; each stands alone.
type Grant struct {
	ID        string   // unique within its service; decisions name it
	Actions   []Action // at least one
	Source    Source
	Paths     []string // SourceFile: these files. SourceCredential: where the credential may be copied from.
	Dirs      []string // the same, for everything beneath a directory
	Names     []string // SourceCredential, SourceEnv: these credentials or variables
	Purposes  []string // DeriveKey: these derivation labels
	Relax     Relax
	Require   Require
	MinLength int64  // shorter content is refused; 0 is no condition
	MaxBytes  int64  // longer content is refused; 0 is the hard limit
	MinMemory Memory // weaker memory is refused; "" is no condition
}

// Relax loosens the strict base for one grant, one thing at a time. Its zero value loosens nothing.
type Relax struct {
	Owner      *int64 // SourceFile: this uid may own the file, and so change or replace it
	GroupRead  *int64 // this group may read the file
	WorldRead  bool   // everyone may read the file
	Symlink    bool   // the last component may be a symbolic link
	Filesystem string // one more file system is trusted
}

// Require says who the service must be besides its name, which anybody can claim. Each fact must be proven by the host, and
// equal. The zero value requires nothing.
type Require struct {
	UID  *int64 // the effective user id
	Unit string // the systemd unit, a service by its full name
}

// ParseGrants decodes grants data and refuses what no author can have meant: unknown fields, wrong types, repeated
// members and ids, and grants that can never match. Its errors name service, grant and field. The members are the fields
// of [Grant] in snake_case:
//
//	{"secrets": {"services": {"queen-rbee": [
//	  {"id": "queen-token", "actions": ["load_secret"], "source": "file",
//	   "paths": ["/etc/llorch/secrets/api-token"], "min_length": 16}]}}}
func ParseGrants(data []byte) (*Grants, error) {
	g, err := parseGrants(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGrants, err)
	}
	return g, nil
}

func parseGrants(data []byte) (*Grants, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	g := &Grants{Services: map[string][]Grant{}}
	top, err := object(data, "secrets")
	if err != nil || top["secrets"] == nil {
		return g, err // {} grants nothing
	}
	secrets, err := object(top["secrets"], "services")
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	var services map[string]json.RawMessage
	if err := decode(secrets["services"], '{', &services); err != nil {
		return nil, fmt.Errorf("secrets.services: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if g.Services[name], err = parseService(name, services[name]); err != nil {
			return nil, fmt.Errorf("service %q: %w", name, err)
		}
	}
	return g, nil
}

// parseService decodes the grants of one service.
func parseService(name string, raw json.RawMessage) ([]Grant, error) {
	if !isPrintable(name, 255) {
		return nil, errors.New("a service's name is 1 to 255 printable ASCII characters without a space")
	}
	var list []json.RawMessage
	if err := decode(raw, '[', &list); err != nil {
		return nil, err
	}
	grants := make([]Grant, 0, len(list))
	ids := map[string]bool{}
	for i, raw := range list {
		var g Grant
		err := g.parse(raw)
		switch {
		case err != nil && g.ID == "":
			return nil, fmt.Errorf("grant number %d: %w", i+1, err)
		case err != nil:
			return nil, fmt.Errorf("grant %q: %w", g.ID, err)
		case ids[g.ID]:
			return nil, fmt.Errorf("grant %q: field %q: another grant of the service has this id", g.ID, "id")
		}
		ids[g.ID] = true
		grants = append(grants, g)
	}
	return grants, nil
}

// parse decodes one grant, its id first so that errors can name it.
func (g *Grant) parse(raw json.RawMessage) error {
	members, err := object(raw, grantFields()...)
	if err != nil {
		return err
	}
	for _, field := range grantFields() {
		value, ok := members[field]
		switch {
		case !ok && (field == "id" || field == "actions" || field == "source"):
			return fmt.Errorf("field %q is missing", field)
		case !ok:
			continue
		}
		if err := g.set(field, value); err != nil {
			return fmt.Errorf("field %q: %w", field, err)
		}
	}
	return g.check()
}
