package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ErrStatement is matched when the signed comment of a signature is not a [Statement].
var ErrStatement = errors.New("the signed comment is not secrets-policy/v1 name=… revision=… not_after=…")

// Statement is what the signer of a bundle says about it: the trusted comment of the signature. The zero Statement is
// that of a bundle which nobody signed. In full:
//
//	secrets-policy/v1 name=llorch revision=7 not_after=2030-01-31T00:00:00Z
type Statement struct {
	Name     string    // which policy this is: 1 to 64 of a-z, 0-9, dot, underscore, hyphen
	Revision uint64    // the higher replaces the lower
	NotAfter time.Time // when it ends, in whole seconds; nothing is allowed after it
}

const (
	statementTime = "2006-01-02T15:04:05Z"
	policyName    = `[a-z0-9._-]+`
)

var (
	statementGrammar = regexp.MustCompile(`^secrets-policy/v1 name=(` + policyName + `) revision=(0|[1-9][0-9]*) not_after=([0-9TZ:-]+)$`)
	nameGrammar      = regexp.MustCompile(`^` + policyName + `$`)
)

// validName reports whether s can name a policy.
func validName(s string) bool { return fits(nameGrammar, 64, s) }

// MarshalText writes the comment that is signed, for minisign -t. A fraction of a second is cut off.
func (s Statement) MarshalText() ([]byte, error) {
	text := fmt.Appendf(nil, "secrets-policy/v1 name=%s revision=%d not_after=%s", s.Name, s.Revision, s.NotAfter.UTC().Format(statementTime))
	if err := new(Statement).UnmarshalText(text); err != nil {
		return nil, err
	}
	return text, nil
}

// UnmarshalText reads a signed comment. There is one way to write each statement; the error matches ErrStatement.
func (s *Statement) UnmarshalText(text []byte) error {
	m := statementGrammar.FindSubmatch(text)
	if m == nil || !validName(string(m[1])) || len(m[3]) != len(statementTime) {
		return fmt.Errorf("%w: %.200q", ErrStatement, text)
	}
	revision, err := strconv.ParseUint(string(m[2]), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: revision out of range", ErrStatement)
	}
	notAfter, err := time.Parse(statementTime, string(m[3]))
	if err != nil {
		return fmt.Errorf("%w: not_after: not a time such as 2030-01-31T00:00:00Z", ErrStatement)
	}
	*s = Statement{string(m[1]), revision, notAfter}
	return nil
}

// expired reports whether the statement's time is over. What nobody signed has no end.
func (s *Statement) expired() bool { return s.Name != "" && time.Now().After(s.NotAfter) }

func (s *Statement) checkExpired() error {
	if s.expired() {
		return fmt.Errorf("%w: %s", ErrExpired, s.NotAfter.Format(statementTime))
	}
	return nil
}
