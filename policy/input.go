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

// The parts of an input that are often the same from one request to the next, so that a guest reads them once: their
// places, as sandbox.Config.Parts wants them, in the order in which appendInput writes them.
func inputParts() []string {
	return []string{
		`["subject"]`, `["context"]`, `["resource","origin_file"]`, `["resource","ancestors"]`,
		`["resource","file","mount"]`, `["resource","file","readers"]`, `["resource","file","writers"]`,
	}
}

// appendInput writes the input for a question, its parts apart: every field, whatever its value. What may be asked has
// neither context nor facts. A guest that takes no parts gets it whole.
func appendInput(b []byte, parts [][]byte, q question, r *Request) ([]byte, error) {
	if len(parts) == 0 {
		return appendWhole(b, q, r)
	}
	for k := range parts {
		parts[k] = parts[k][:0]
	}
	e := encoder{b: b}
	e.raw(`{"api":"v1","action":`).str(string(r.Action))
	e.raw(`,"resource":{`).reference(&r.Resource)
	if q == judgeFacts {
		e.facts(&r.Resource)
		e.raw(`,"file":{`).inode(&r.Resource.File)
		e.raw(`}`)
	}
	e.raw(`}}`)
	bad := e.bad
	for k := range parts {
		p := encoder{b: parts[k]}
		p.part(k, q, r)
		parts[k] = p.b
		bad = bad || p.bad
	}
	if bad {
		return e.b, errNotUTF8
	}
	return e.b, nil
}

// part writes one of inputParts.
func (e *encoder) part(k int, q question, r *Request) {
	switch {
	case k == 0:
		e.subject(&r.Subject)
	case q != judgeFacts:
	case k == 1:
		e.context(&r.Context)
	case k == 2:
		e.file(&r.Resource.OriginFile)
	case k == 3:
		e.strs(r.Resource.Above)
	case k == 4:
		e.mount(&r.Resource.File.Mount)
	case k == 5:
		e.principals(&r.Resource.File.Readers)
	case k == 6:
		e.principals(&r.Resource.File.Writers)
	}
}

var errNotUTF8 = fmt.Errorf("%w: a string is not UTF-8", ErrRequest)

// appendWhole writes the same in one piece.
func appendWhole(b []byte, q question, r *Request) ([]byte, error) {
	e := encoder{b: b}
	e.raw(`{"api":"v1","subject":`).subject(&r.Subject)
	e.raw(`,"action":`).str(string(r.Action))
	e.raw(`,"resource":{`).reference(&r.Resource)
	if q == judgeFacts {
		e.facts(&r.Resource)
		e.raw(`,"ancestors":`).strs(r.Resource.Above)
		e.raw(`,"file":`).file(&r.Resource.File)
		e.raw(`,"origin_file":`).file(&r.Resource.OriginFile)
		e.raw(`},"context":`).context(&r.Context)
		e.raw(`}`)
	} else {
		e.raw(`}}`)
	}
	if e.bad {
		return e.b, errNotUTF8
	}
	return e.b, nil
}

// reference writes what a request asks for, and begins the members of its resource.
func (e *encoder) reference(s *Resource) {
	e.raw(`"source":`).str(string(s.Source))
	e.raw(`,"path":`).str(s.Path)
	e.raw(`,"name":`).str(s.Name)
	e.raw(`,"purpose":`).str(s.Purpose)
}

// facts writes what the host says of a resource besides, but for its files and directories.
func (e *encoder) facts(s *Resource) {
	e.raw(`,"resolved":`).str(s.Resolved)
	e.raw(`,"links":`).strs(s.Links)
	e.raw(`,"origin":`).str(s.Origin)
	e.raw(`,"facts":`).str(string(s.Facts))
}

func (e *encoder) strs(values []string) {
	e.raw(`[`)
	for i, s := range values {
		e.comma(i).str(s)
	}
	e.raw(`]`)
}

func (e *encoder) context(c *Context) {
	e.raw(`{"phase":`).str(string(c.Phase))
	e.raw(`,"host":`).str(c.Host)
	e.raw(`,"environment":`).str(c.Environment)
	e.raw(`,"memory":`).str(string(c.Memory))
	e.raw(`}`)
}

func (e *encoder) subject(s *Subject) {
	e.raw(`{"service":`).str(s.Service)
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
	e.raw(`}}`)
}

func (e *encoder) file(f *File) {
	e.raw(`{`).inode(f)
	e.raw(`,"mount":`).mount(&f.Mount)
	e.raw(`,"readers":`).principals(&f.Readers)
	e.raw(`,"writers":`).principals(&f.Writers)
	e.raw(`}`)
}

// inode writes the members of a file that are no objects.
func (e *encoder) inode(f *File) {
	e.raw(`"type":`).str(f.Type)
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
	e.raw(`,"immutable":`).bool(f.Immutable)
	e.raw(`,"append_only":`).bool(f.AppendOnly)
	e.raw(`,"symlinks":`).num(int64(f.Symlinks))
	e.raw(`,"final_symlink":`).bool(f.FinalSymlink)
	e.raw(`,"acl":`).bool(f.ACL)
}

func (e *encoder) mount(m *Mount) {
	e.raw(`{"read_only":`).bool(m.ReadOnly)
	e.raw(`,"nosuid":`).bool(m.NoSUID)
	e.raw(`,"nodev":`).bool(m.NoDev)
	e.raw(`,"noexec":`).bool(m.NoExec)
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

// MarshalJSON gives the input that the decision entrypoint sees, which is also what the audit log records.
func (r *Request) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil) }

// AppendJSON is as MarshalJSON, and appends to b. The error is for text that is not UTF-8.
func (r *Request) AppendJSON(b []byte) ([]byte, error) { return appendWhole(b, judgeFacts, r) }
