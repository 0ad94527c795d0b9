package policy

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The guest sees only JSON that is written here: fed a truncated or empty document its parser yields an undefined input
// without an error, it accepts trailing bytes, and the last of repeated keys wins.

// ErrRequest is matched when a request cannot be put to a policy: a string that is not UTF-8, an unknown action,
// source, phase or state of facts, or more than Limits.InputBytes.
var ErrRequest = errors.New("invalid request")

// validate refuses what the contract does not know, so that a policy never has to think of it.
func (r *Request) validate() error {
	switch r.Action {
	case LoadSecret, LoadKey, DeriveKey:
	default:
		return fmt.Errorf("%w: unknown action %q", ErrRequest, r.Action)
	}
	switch r.Resource.Source {
	case SourceFile, SourceCredential, SourceEnv:
	default:
		return fmt.Errorf("%w: unknown source %q", ErrRequest, r.Resource.Source)
	}
	switch p, f := r.Context.Phase, r.Resource.Facts; {
	case p == PhaseRuntime && f == FactsObserved:
	case p == PhaseRollout && (f == FactsObserved || f == FactsPredicted || f == FactsUnchecked):
	default:
		return fmt.Errorf("%w: facts %q in phase %q", ErrRequest, f, p)
	}
	return nil
}

// encoder appends JSON. It remembers a string that is not UTF-8.
type encoder struct {
	b   []byte
	bad bool
}

// appendDecisionInput writes the input of the decision entrypoint: every field, whatever its value.
func appendDecisionInput(b []byte, r *Request) ([]byte, error) {
	e := encoder{b: b}
	e.head(r)
	s := &r.Resource
	e.raw(`,"resource":{"source":`).str(string(s.Source))
	e.raw(`,"path":`).str(s.Path)
	e.raw(`,"resolved":`).str(s.Resolved)
	e.raw(`,"ancestors":[`)
	for i, a := range s.Above {
		e.comma(i).str(a)
	}
	e.raw(`],"links":[`)
	for i, l := range s.Links {
		e.comma(i).str(l)
	}
	e.raw(`],"name":`).str(s.Name)
	e.raw(`,"purpose":`).str(s.Purpose)
	e.raw(`,"origin":`).str(s.Origin)
	e.raw(`,"facts":`).str(string(s.Facts))
	e.raw(`,"file":`).file(&s.File)
	e.raw(`,"origin_file":`).file(&s.OriginFile)
	e.raw(`},"context":{"phase":`).str(string(r.Context.Phase))
	e.raw(`,"host":`).str(r.Context.Host)
	e.raw(`,"environment":`).str(r.Context.Environment)
	e.raw(`,"memory":`).str(string(r.Context.Memory))
	e.raw(`}}`)
	return e.done()
}

// appendAskInput writes the input of the may_ask entrypoint: subject, action and the syntactic reference.
func appendAskInput(b []byte, r *Request) ([]byte, error) {
	e := encoder{b: b}
	e.head(r)
	e.raw(`,"resource":{"source":`).str(string(r.Resource.Source))
	e.raw(`,"path":`).str(r.Resource.Path)
	e.raw(`,"name":`).str(r.Resource.Name)
	e.raw(`,"purpose":`).str(r.Resource.Purpose)
	e.raw(`}}`)
	return e.done()
}

func (e *encoder) head(r *Request) {
	s := &r.Subject
	e.raw(`{"api":"v1","subject":{"service":`).str(s.Service)
	e.raw(`,"container":`).str(s.Container)
	e.raw(`,"uid":`).num(s.UID)
	e.raw(`,"gid":`).num(s.GID)
	e.raw(`,"unit":`).str(s.Unit)
	e.raw(`,"exe":`).str(s.Exe)
	e.raw(`,"spiffe_id":`).str(s.SPIFFEID)
	e.raw(`,"attested":{"uid":`).str(s.Attested.UID)
	e.raw(`,"gid":`).str(s.Attested.GID)
	e.raw(`,"unit":`).str(s.Attested.Unit)
	e.raw(`,"exe":`).str(s.Attested.Exe)
	e.raw(`,"spiffe_id":`).str(s.Attested.SPIFFEID)
	e.raw(`}},"action":`).str(string(r.Action))
}

func (e *encoder) file(f *File) {
	e.raw(`{"type":`).str(f.Type)
	e.raw(`,"mode":`).num(int64(f.Mode))
	e.raw(`,"mode_octal":"`).octal(f.Mode)
	e.raw(`","group_bits":`).num(int64(f.Mode >> 3 & 7))
	e.raw(`,"other_bits":`).num(int64(f.Mode & 7))
	e.raw(`,"uid":`).num(f.UID)
	e.raw(`,"gid":`).num(f.GID)
	e.raw(`,"owner_is_root":`).bool(f.OwnerIsRoot)
	e.raw(`,"owner_is_me":`).bool(f.OwnerIsMe)
	e.raw(`,"size":`).num(f.Size)
	e.raw(`,"nlink":`).num(f.NLink)
	e.raw(`,"filesystem":`).str(f.Filesystem)
	e.raw(`,"mount":{"read_only":`).bool(f.Mount.ReadOnly)
	e.raw(`,"nosuid":`).bool(f.Mount.NoSUID)
	e.raw(`,"nodev":`).bool(f.Mount.NoDev)
	e.raw(`,"noexec":`).bool(f.Mount.NoExec)
	e.raw(`},"immutable":`).bool(f.Immutable)
	e.raw(`,"append_only":`).bool(f.AppendOnly)
	e.raw(`,"symlinks":`).num(int64(f.Symlinks))
	e.raw(`,"final_symlink":`).bool(f.FinalSymlink)
	e.raw(`,"acl":`).bool(f.ACL)
	e.raw(`,"readers":`).principals(&f.Readers)
	e.raw(`,"writers":`).principals(&f.Writers)
	e.raw(`}`)
}

func (e *encoder) principals(p *Principals) {
	e.raw(`{"uids":[`).nums(p.UIDs)
	e.raw(`],"gids":[`).nums(p.GIDs)
	e.raw(`],"everyone":`).bool(p.Everyone)
	e.raw(`}`)
}

func (e *encoder) raw(s string) *encoder {
	e.b = append(e.b, s...)
	return e
}

func (e *encoder) comma(i int) *encoder {
	if i > 0 {
		e.b = append(e.b, ',')
	}
	return e
}

func (e *encoder) num(n int64) { e.b = strconv.AppendInt(e.b, n, 10) }
func (e *encoder) bool(v bool) { e.b = strconv.AppendBool(e.b, v) }
func (e *encoder) nums(v []int64) {
	for i, n := range v {
		e.comma(i).num(n)
	}
}

func (e *encoder) octal(mode uint32) {
	for shift := 9; shift >= 0; shift -= 3 {
		e.b = append(e.b, '0'+byte(mode>>shift&7))
	}
}

const hexDigits = "0123456789abcdef"

func (e *encoder) str(s string) {
	if !utf8.ValidString(s) {
		e.bad = true
	}
	e.b = append(e.b, '"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		e.b = append(e.b, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			e.b = append(e.b, '\\', c)
		} else {
			e.b = append(e.b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	e.b = append(append(e.b, s[from:]...), '"')
}

func (e *encoder) done() ([]byte, error) {
	if e.bad {
		return e.b, fmt.Errorf("%w: a string is not UTF-8", ErrRequest)
	}
	return e.b, nil
}

// MarshalJSON gives the input that the decision entrypoint sees, which is also what the audit log records.
func (r *Request) MarshalJSON() ([]byte, error) { return appendDecisionInput(nil, r) }
