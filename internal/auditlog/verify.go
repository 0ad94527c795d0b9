package auditlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The rules of findings. They are an interface.
const (
	RuleTampered     = "tampered"      // an entry is not what was written
	RuleNotAnEntry   = "not_an_entry"  // a line that no writer of ours leaves
	RuleMissing      = "missing"       // entries are gone: taken out, or cut off
	RuleOutOfOrder   = "out_of_order"  // an entry comes again, or too late
	RuleBrokenChain  = "broken_chain"  // an entry does not follow the one before it
	RuleMissingStart = "missing_start" // entries before the first one are not there
	RuleHeadMissing  = "head_missing"  // the head that was expected is not in the chain
	RuleTorn         = "torn"          // a note: a write went wrong, and the next entry says so
)

// Finding is something wrong with a log, or worth to be noted.
type Finding struct {
	Rule    string `json:"rule"`
	Note    bool   `json:"-"`
	Message string `json:"message"`
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 for the log as a whole
}

// File is what one file holds.
type File struct {
	Name    string `json:"file"`
	Entries int    `json:"entries"`
	First   uint64 `json:"first"` // number of its first entry, 0 without one
	Last    uint64 `json:"last"`
}

// MaxFindings bounds the list; what is wrong with one entry is told once.
const MaxFindings = 100

// Verifier checks the files of a log, the oldest first.
type Verifier struct {
	Files    []File
	Entries  int
	First    uint64 // number of the first entry
	Head     Head   // of the last entry
	Findings []Finding
	Omitted  int // findings beyond MaxFindings

	after   Head // what the first entry should follow
	expect  Head // what should be in the chain; zero for nothing
	met     bool
	pending fragment
}

// fragment is lines that are no entries, until an entry explains them.
type fragment struct {
	bytes    int64
	line     int
	complete bool // one of them is JSON, which no broken write leaves
}

// NewVerifier takes the head that the first entry should follow, zero for that of a whole log, and one that should be in
// the chain, zero for none.
func NewVerifier(after, expect Head) *Verifier {
	return &Verifier{after: after, expect: expect, met: expect == Head{} || expect == after}
}

// Read checks one file. The error is that of the reader.
func (v *Verifier) Read(name string, r io.Reader) error {
	f := File{Name: name}
	lines := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if len(line) > 0 {
			v.line(&f, n, line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	v.flush(&f)
	v.Files = append(v.Files, f)
	return nil
}

// readLine reads up to a line feed, and no more than an entry can have.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > MaxLine {
			if errors.Is(err, bufio.ErrBufferFull) {
				err = nil
			}
			return line, err
		}
	}
}

func (v *Verifier) line(f *File, n int, line []byte) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	l, ok := parse(text)
	if !ok || !whole {
		if v.pending.bytes == 0 {
			v.pending.line = n
		}
		v.pending.bytes += int64(len(line))
		v.pending.complete = v.pending.complete || ok || json.Valid(text)
		return
	}
	v.explain(f, l)
	v.place(f, n, l)
	if !l.sound() {
		v.find(f.Name, n, RuleTampered, "entry %d is not what was written: its hash is another", l.Seq)
	}
	if f.Entries == 0 {
		f.First = l.Seq
	}
	if v.Entries == 0 {
		v.First = l.Seq
	}
	f.Entries++
	v.Entries++
	f.Last, v.Head = l.Seq, l.Head
	v.met = v.met || l.Head == v.expect && l.sound()
}

// explain settles the lines before an entry that are none.
func (v *Verifier) explain(f *File, l link) {
	p := v.pending
	switch {
	case p.bytes == 0 && l.torn > 0:
		v.find(f.Name, 0, RuleMissing, "entry %d tells of %d bytes before it that are gone", l.Seq, l.torn)
	case p.bytes == 0:
	case p.bytes == l.torn && !p.complete:
		v.find(f.Name, p.line, RuleTorn, "a write went wrong here; entry %d says so", l.Seq)
		v.pending = fragment{}
	default:
		v.flush(f)
	}
}

// flush reports lines that nothing explains.
func (v *Verifier) flush(f *File) {
	if v.pending.bytes > 0 {
		v.find(f.Name, v.pending.line, RuleNotAnEntry, "what stands here is no entry of the chain, or not all of one, and no later entry tells of a write that went wrong")
	}
	v.pending = fragment{}
}

// place compares an entry with the one before it. After a fault it goes on from the entry at hand.
func (v *Verifier) place(f *File, n int, l link) {
	before := v.Head
	if v.Entries == 0 {
		before = v.after
	}
	switch {
	case l.Seq == before.Seq+1 && l.prev == before.Hash:
	case v.Entries == 0 && l.Seq > before.Seq+1:
		v.find(f.Name, n, RuleMissingStart, "the log begins with entry %d; it follows %s", l.Seq, Head{l.Seq - 1, l.prev})
	case l.Seq <= before.Seq:
		v.find(f.Name, n, RuleOutOfOrder, "entry %d comes after entry %d", l.Seq, before.Seq)
	case l.Seq > before.Seq+1:
		v.find(f.Name, n, RuleMissing, "entries %d to %d are missing", before.Seq+1, l.Seq-1)
	default:
		v.find(f.Name, n, RuleBrokenChain, "entry %d does not follow the entry before it, but another", l.Seq)
	}
}

// Finish checks the end: against the head that was expected, and the one that a head file remembers, zero for none.
func (v *Verifier) Finish(recorded Head) {
	last := ""
	if n := len(v.Files); n > 0 {
		last = v.Files[n-1].Name
	}
	if !v.met {
		v.find(last, 0, RuleHeadMissing, "the expected head %s is not in the log: it was cut off or written anew", v.expect)
	}
	switch {
	case recorded.Seq > v.Head.Seq:
		v.find(last, 0, RuleMissing, "the log ends with entry %d, its head file says %d: the end was cut off", v.Head.Seq, recorded.Seq)
	case recorded.Seq == v.Head.Seq && recorded != v.Head:
		v.find(last, 0, RuleBrokenChain, "the last entry is another one than the head file says")
	}
}

// Intact reports whether nothing is wrong.
func (v *Verifier) Intact() bool {
	for _, f := range v.Findings {
		if !f.Note {
			return false
		}
	}
	return v.Omitted == 0
}

func (v *Verifier) find(file string, line int, rule, format string, args ...any) {
	if len(v.Findings) >= MaxFindings {
		v.Omitted++
		return
	}
	v.Findings = append(v.Findings, Finding{rule, rule == RuleTorn, fmt.Sprintf(format, args...), file, line})
}

// FirstSeq tells the number of the entry with which a file begins, 0 if it begins with none.
func FirstSeq(r *bufio.Reader) uint64 {
	b, _ := r.Peek(40) // a shorter file is no error here
	var seq uint64
	if _, err := fmt.Sscanf(string(b), `{"seq":%d,`, &seq); err != nil {
		return 0
	}
	return seq
}
