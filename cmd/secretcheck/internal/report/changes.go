package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/policy"
)

// Changes is what differs between the answers of two policies, or of one and what was recorded. Its JSON form is an
// interface.
type Changes struct {
	SchemaVersion int           `json:"schema_version"`
	Old           *PolicyName   `json:"old,omitempty"` // nil where recorded answers stand for it
	New           PolicyName    `json:"new"`
	Rows          []*change.Row `json:"changes"`
	Summary       ChangeSummary `json:"summary"`
	NotReplayed   []NotReplayed `json:"not_replayed"`

	Command string `json:"-"`
}

// PolicyName tells which policy it was.
type PolicyName struct {
	Path     string `json:"path"`
	Revision string `json:"revision"`
	Digest   string `json:"digest"`
}

// ChangeSummary counts requests, but for Rows and Accepted.
type ChangeSummary struct {
	Requests     int `json:"requests"` // with an answer of both
	Same         int `json:"same"`
	OtherReasons int `json:"other_reasons"` // denied by both, for other reasons
	Widening     int `json:"widening"`
	Narrowing    int `json:"narrowing"`
	NotReplayed  int `json:"not_replayed"`
	Aside        int `json:"aside"`    // entries of logs that are no verdicts
	Omitted      int `json:"omitted"`  // whose rows are not in the list, which is full
	Accepted     int `json:"accepted"` // rows whose ids were allowed
}

// NotReplayed counts entries that could not be judged again, with the first of them.
type NotReplayed struct {
	Why    string `json:"why"`
	Count  int    `json:"count"`
	Place  string `json:"place"`
	Detail string `json:"detail"`
}

// Write writes the changes in the format of that name: pretty, json, markdown or html.
func (c *Changes) Write(w io.Writer, format string) error {
	var b bytes.Buffer
	switch format {
	case "json":
		return Value(w, c)
	case "markdown":
		c.markdown(&b)
	case "html":
		if err := c.html(&b); err != nil {
			return err
		}
	default:
		c.pretty(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func (c *Changes) pretty(b *bytes.Buffer) {
	for _, r := range c.Rows {
		mark := ""
		if r.Accepted {
			mark = " (allowed)"
		}
		fmt.Fprintf(b, "%-8s  %s  %s%s\n", r.Kind, Text(r.Service), Text(aboutRow(r)), mark)
		fmt.Fprintf(b, "          %s\n", Text(was(r)))
		fmt.Fprintf(b, "          %s\n", Text(witness(r)))
		fmt.Fprintf(b, "          id %s\n", r.ID)
	}
	if len(c.Rows) > 0 {
		b.WriteByte('\n')
	}
	for _, n := range c.NotReplayed {
		fmt.Fprintf(b, "not replayed: %s, %s; first at %s: %s\n", n.Why, entries(n.Count), Text(n.Place), Text(n.Detail))
	}
	fmt.Fprintf(b, "%s\n", c.sum())
}

// entries counts.
func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

// sum is the last line.
func (c *Changes) sum() string {
	s := c.Summary
	parts := []string{fmt.Sprintf("%s: %d the same", count(s.Requests, "request"), s.Same)}
	if s.OtherReasons > 0 {
		parts = append(parts, fmt.Sprintf("%d denied for other reasons", s.OtherReasons))
	}
	parts = append(parts, fmt.Sprintf("%d widening", s.Widening), fmt.Sprintf("%d narrowing", s.Narrowing))
	if s.NotReplayed > 0 {
		parts = append(parts, fmt.Sprintf("%d not replayed", s.NotReplayed))
	}
	if s.Omitted > 0 {
		parts = append(parts, fmt.Sprintf("%d in rows that are not listed", s.Omitted))
	}
	return strings.Join(parts, ", ")
}

// aboutRow names action and secret.
func aboutRow(r *change.Row) string {
	text := string(r.Action) + " "
	switch r.Source {
	case policy.SourceFile:
		text += "file " + r.Path
	case policy.SourceCredential:
		text += "credential " + r.Name
	case policy.SourceEnv:
		text += "variable " + r.Name
	default:
		text += string(r.Source) + " " + r.Name + r.Path
	}
	if r.Origin != "" {
		text += " from " + r.Origin
	}
	if r.Purpose != "" {
		text += " for " + r.Purpose
	}
	if r.When != "" {
		text += ", " + r.When
	}
	return text
}

// was tells both answers.
func was(r *change.Row) string {
	if r.Kind == change.Looser || r.Kind == change.Stricter {
		return "was " + demands(r.From) + "; now " + demands(r.To)
	}
	return "was " + answer(r.From) + "; now " + answer(r.To)
}

func answer(a change.Answer) string {
	switch {
	case a.Verdict == change.Allowed && len(a.Grants) > 0:
		return "allowed by " + strings.Join(a.Grants, ", ")
	case a.Verdict != change.Allowed && len(a.Codes) > 0:
		return a.Verdict + ": " + strings.Join(a.Codes, ", ")
	}
	if a.Verdict == change.Undecided {
		return "undecided: it depends on facts that were not seen"
	}
	return a.Verdict
}

func demands(a change.Answer) string {
	o, memory := a.Obligations, string(a.Obligations.MinMemory)
	if memory == "" {
		memory = "any"
	}
	most := "any number of"
	if o.MaxBytes > 0 {
		most = fmt.Sprintf("at most %d", o.MaxBytes)
	}
	return fmt.Sprintf("%s bytes, at least %d, %s memory", most, o.MinLength, memory)
}

func witness(r *change.Row) string {
	w := r.Witness
	text := "shown by a request made up from the grants"
	if w.Place != "" {
		text = "shown by " + w.Place
	}
	if w.DecisionID != "" {
		text += ", decision " + w.DecisionID
	}
	if w.Timestamp != "" {
		text += ", " + w.Timestamp
	}
	if r.Count > 1 {
		text += fmt.Sprintf(", and %d more", r.Count-1)
	}
	return text
}

// verdict is the headline.
func (c *Changes) verdict() string {
	open := 0
	for _, r := range c.Rows {
		if r.Widening && !r.Accepted {
			open++
		}
	}
	switch {
	case open > 0:
		return "access is widened"
	case c.Summary.NotReplayed > 0:
		return "not all of it could be replayed"
	case c.Summary.Narrowing > 0:
		return "access is narrowed"
	case len(c.Rows) > 0:
		return "only what was allowed changes"
	}
	return "nothing changes"
}

func (c *Changes) markdown(b *bytes.Buffer) {
	fmt.Fprintf(b, "### secretcheck %s: %s\n\n%s\n", c.Command, c.verdict(), cell(c.sum()))
	for i, r := range c.Rows {
		if i == 0 {
			b.WriteString("\n| | service | secret | was, now | shown by | id |\n|---|---|---|---|---|---|\n")
		}
		if i == mostRows {
			fmt.Fprintf(b, "\nand %d more\n", len(c.Rows)-mostRows)
			break
		}
		kind := string(r.Kind)
		if r.Accepted {
			kind += ", allowed"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", cell(kind), cell(r.Service), cell(aboutRow(r)), cell(was(r)), cell(witness(r)), r.ID)
	}
	if len(c.NotReplayed) > 0 {
		b.WriteString("\n| not replayed | entries | first | |\n|---|---|---|---|\n")
	}
	for _, n := range c.NotReplayed {
		fmt.Fprintf(b, "| %s | %d | %s | %s |\n", cell(n.Why), n.Count, cell(n.Place), cell(n.Detail))
	}
}

//go:embed changes.html.tmpl
var changesPage string

type changesHTML struct {
	Command, Verdict, Sum string
	Summary               ChangeSummary
	Rows                  []changeHTML
	NotReplayed           []NotReplayed
	Style                 template.CSS
	StyleHash             string
}

type changeHTML struct{ ID, Kind, Class, Service, About, Was, Witness, Input string }

func (c *Changes) html(b *bytes.Buffer) error {
	t, err := template.New("changes").Parse(changesPage)
	if err != nil {
		return err
	}
	p := changesHTML{
		Command: c.Command, Verdict: c.verdict(), Sum: c.sum(), Summary: c.Summary,
		Style: template.CSS(style), StyleHash: hashed(style), //nolint:gosec // G203: a file of ours
	}
	for _, r := range c.Rows {
		h := changeHTML{ID: r.ID, Kind: string(r.Kind), Class: "note", Service: Text(r.Service), About: Text(aboutRow(r)), Was: Text(was(r)), Witness: Text(witness(r))}
		switch {
		case r.Accepted:
			h.Kind += ", allowed"
		case r.Widening:
			h.Class = string(change.Denied)
		case r.Kind.Narrows():
			h.Class = string(change.Undecided)
		}
		if r.Witness.Input != nil {
			var input bytes.Buffer
			if err := Value(&input, r.Witness.Input); err != nil {
				return err
			}
			h.Input = input.String()
		}
		p.Rows = append(p.Rows, h)
	}
	for _, n := range c.NotReplayed {
		p.NotReplayed = append(p.NotReplayed, NotReplayed{Text(n.Why), n.Count, Text(n.Place), Text(n.Detail)})
	}
	return t.Execute(b, p)
}
