// Package change holds what differs between the answers of two policies, one row for each service and secret, with a
// request that shows it.
package change

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/fingerprint"
	"github.com/llorch/secrets-management/policy"
)

// Kind is what becomes of a row. The words are an interface.
type Kind string

// The kinds of rows, those that widen access first.
const (
	Gains    Kind = "gains"    // it was not allowed and is
	MayGain  Kind = "may_gain" // it was denied, and now depends on what was not seen
	Looser   Kind = "looser"   // allowed as before, on weaker conditions
	Loses    Kind = "loses"    // it was allowed and is denied
	MayLose  Kind = "may_lose" // it was allowed, and now depends on what was not seen
	Stricter Kind = "stricter" // allowed as before, on stronger conditions
)

// Widens reports whether a row gives something that was not given before.
func (k Kind) Widens() bool { return k == Gains || k == MayGain || k == Looser }

// Narrows reports whether a row takes away what was given.
func (k Kind) Narrows() bool { return k == Loses || k == MayLose }

// The verdicts.
const (
	Allowed   = "allowed"
	Denied    = "denied"
	Undecided = "undecided"
)

// Answer is what one policy says.
type Answer struct {
	Verdict     string      `json:"verdict"`
	Codes       []string    `json:"codes"`  // of the reasons, sorted
	Grants      []string    `json:"grants"` // ids
	Obligations Obligations `json:"obligations"`
}

// Obligations are those of an allow; zeros otherwise.
type Obligations struct {
	MaxBytes  int64         `json:"max_bytes"`
	MinLength int64         `json:"min_length"`
	MinMemory policy.Memory `json:"min_memory"`
}

// NewAnswer brings the parts of an answer into their order.
func NewAnswer(verdict string, codes, grants []string, o policy.Obligations) Answer {
	a := Answer{Verdict: verdict, Codes: sorted(codes), Grants: sorted(grants)}
	if verdict == Allowed {
		a.Obligations = Obligations(o)
	}
	return a
}

func sorted(list []string) []string {
	return append([]string{}, slices.Compact(slices.Sorted(slices.Values(list)))...) // never null
}

// Subject is what a row is about.
type Subject struct {
	Service string        `json:"service"`
	Action  policy.Action `json:"action"`
	Source  policy.Source `json:"source"`
	Name    string        `json:"name"`
	Path    string        `json:"path"`
	Purpose string        `json:"purpose"`
	Origin  string        `json:"origin"`
	When    string        `json:"when"` // the circumstances, in words; empty for the usual ones
}

// Witness is one concrete request that shows a row.
type Witness struct {
	Place      string          `json:"place"` // file:line of a descriptor or log; empty for a request that was made up
	DecisionID string          `json:"decision_id"`
	Timestamp  string          `json:"timestamp"`
	Input      *policy.Request `json:"input,omitempty"`
}

// Row is one difference.
type Row struct {
	ID   string `json:"id"`
	Kind Kind   `json:"kind"`
	Subject
	From     Answer  `json:"from"`
	To       Answer  `json:"to"`
	Count    int     `json:"count"` // of the requests that show it
	Widening bool    `json:"widening"`
	Accepted bool    `json:"accepted"` // its id was allowed
	Witness  Witness `json:"witness"`
}

// Between compares two answers to one request. It reports false where nothing changes that a service could notice: a
// denial for other reasons is one.
func Between(from, to Answer) (Kind, bool) {
	switch {
	case from.Verdict == Allowed && to.Verdict == Allowed:
		return conditions(from.Obligations, to.Obligations)
	case to.Verdict == Allowed:
		return Gains, true
	case from.Verdict == Allowed && to.Verdict == Undecided:
		return MayLose, true
	case from.Verdict == Allowed:
		return Loses, true
	case from.Verdict == Denied && to.Verdict == Undecided:
		return MayGain, true
	}
	return "", false
}

// conditions compares obligations. Where one is weaker and another stronger, it is the weaker that counts.
func conditions(from, to Obligations) (Kind, bool) {
	rank := map[policy.Memory]int{policy.MemoryHeap: 1, policy.MemoryLocked: 2, policy.MemorySecret: 3}
	most := func(n int64) int64 {
		if n == 0 { // no limit
			return math.MaxInt64
		}
		return n
	}
	signs := []int{
		cmp.Compare(most(to.MaxBytes), most(from.MaxBytes)), cmp.Compare(from.MinLength, to.MinLength),
		cmp.Compare(rank[from.MinMemory], rank[to.MinMemory]),
	}
	switch {
	case slices.Contains(signs, 1):
		return Looser, true
	case slices.Contains(signs, -1):
		return Stricter, true
	}
	return "", false
}

const idDigits = 32

// id names a row across runs: what changes for whom, never where it was seen. The codes before and the conditions are part
// of it, so that who accepts one widening has not accepted another of the same secret.
func (r *Row) id() string {
	return fingerprint.Of(
		string(r.Kind), r.Service, string(r.Action), string(r.Source), r.Name, r.Path, r.Purpose, r.Origin, r.When,
		r.From.Verdict, strings.Join(r.From.Codes, ","), r.From.Obligations.text(), r.To.Obligations.text(),
	)[:idDigits]
}

func (o Obligations) text() string {
	return strconv.FormatInt(o.MaxBytes, 10) + " " + strconv.FormatInt(o.MinLength, 10) + " " + string(o.MinMemory)
}

// maxRows bounds a report; a difference beyond it still counts.
const maxRows = 20_000

// Table gathers rows. Requests that show the same make one row, whose witness is the first. The zero Table is empty.
type Table struct {
	Rows    []*Row
	Omitted int // requests whose rows do not fit any more

	Widening, Narrowing int // requests, with those that are omitted
	byID                map[string]*Row
}

// NewRow makes the row of a difference, and nil where there is none.
func NewRow(about Subject, from, to Answer) *Row {
	kind, differs := Between(from, to)
	if !differs {
		return nil
	}
	r := &Row{Kind: kind, Subject: about, From: from, To: to, Widening: kind.Widens()}
	r.ID = r.id()
	return r
}

// Add counts one request that shows a row.
func (t *Table) Add(r *Row, w Witness) {
	if r == nil {
		return
	}
	if r.Kind.Widens() {
		t.Widening++
	} else if r.Kind.Narrows() {
		t.Narrowing++
	}
	if old := t.byID[r.ID]; old != nil {
		old.Count++
		return
	}
	if len(t.Rows) >= maxRows {
		t.Omitted++
		return
	}
	if t.byID == nil {
		t.byID = map[string]*Row{}
	}
	row := *r
	row.Count, row.Witness = 1, w
	t.byID[r.ID] = &row
	t.Rows = append(t.Rows, &row)
}

// Has reports whether a request for the same, in other words or not, has a row of a kind.
func (t *Table) Has(id string) bool { return t.byID[id] != nil }

// Accept marks the rows whose ids are allowed, and returns those ids of the list that no widening has.
func (t *Table) Accept(ids []string) (unknown []string) {
	for _, id := range ids {
		if r := t.byID[id]; r != nil && r.Widening {
			r.Accepted = true
		} else {
			unknown = append(unknown, id)
		}
	}
	return unknown
}

// Open reports whether there is a widening that nobody allowed.
func (t *Table) Open() bool {
	return t.Omitted > 0 && t.Widening > 0 || slices.ContainsFunc(t.Rows, func(r *Row) bool { return r.Widening && !r.Accepted })
}

// Sort makes the order independent of that of the input: widenings first, then by service and secret.
func (t *Table) Sort() {
	order := []Kind{Gains, MayGain, Looser, Loses, MayLose, Stricter}
	slices.SortFunc(t.Rows, func(a, b *Row) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Service, b.Service),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Action, b.Action),
			cmp.Compare(a.Purpose, b.Purpose), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.When, b.When), cmp.Compare(a.ID, b.ID))
	})
}
