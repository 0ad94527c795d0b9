package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/check"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/rules"
)

//go:embed report.html.tmpl
var page string

//go:embed report.css
var style string

//go:embed report.js
var script string

// mostColumns bounds the width of the access matrix. Secrets of further names are listed at the end of a row.
const mostColumns = 24

type htmlPage struct {
	Verdict, Next         string
	Summary               check.Summary
	Columns               []string
	More                  bool
	Rows                  []*htmlRow
	Entries               []htmlEntry
	Style                 template.CSS
	Script                template.JS
	StyleHash, ScriptHash string
}

// htmlRow is a service in the matrix: its loads by column, and those that have none.
type htmlRow struct {
	Service, Kinds string
	Cells          [][]htmlMark
	Others         []htmlMark
}

type htmlMark struct{ ID, Name, Class, Mark, Title string }

type htmlEntry struct {
	ID, Kind, Class, Tag, Service, Title, Place, Snippet, Grants string
	Reasons                                                      []htmlReason
}

type htmlReason struct{ Class, Tag, Name, Message, Fix, Why, Accepted string }

// HTML writes the result as one file that needs nothing else, for people. Whatever comes from outside is escaped by its
// place in the page, and the page may neither load anything nor run anything but its own script.
func HTML(w io.Writer, r check.Result) error {
	t, err := template.New("report").Parse(page)
	if err != nil {
		return err
	}
	p := htmlPage{
		Verdict: markdownVerdict(r), Next: next(r), Summary: r.Summary,
		Style: template.CSS(style), Script: template.JS(script), //nolint:gosec // G203: files of ours
		StyleHash: hashed(style), ScriptHash: hashed(script),
	}
	p.matrix(r.Loads)
	why, accepted := pages(), acceptances(r)
	for i := range r.Loads {
		p.Entries = append(p.Entries, htmlLoad(i, &r.Loads[i], accepted, why))
	}
	for i, f := range besides(r) {
		p.Entries = append(p.Entries, htmlFinding(i, f, why))
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// matrix places each load in the row of its service, under its secret's name. The names that most services have come first.
func (p *htmlPage) matrix(loads []check.Load) {
	p.Columns, p.More = columns(loads)
	rows := map[string]*htmlRow{}
	for i := range loads {
		l := &loads[i]
		row := rows[l.Service]
		if row == nil {
			row = &htmlRow{Service: Text(l.Service), Cells: make([][]htmlMark, len(p.Columns))}
			rows[l.Service] = row
			p.Rows = append(p.Rows, row)
		}
		name := column(l)
		m := htmlMark{loadID(i), name, string(l.Verdict), mark(l), string(l.Verdict) + ": " + Text(l.Service) + ", " + what(*l)}
		if at := slices.Index(p.Columns, name); at >= 0 {
			row.Cells[at] = append(row.Cells[at], m)
		} else {
			row.Others = append(row.Others, m)
		}
		if !strings.Contains(row.Kinds, string(l.Verdict)) {
			row.Kinds += string(l.Verdict) + " "
		}
	}
}

// columns are the names of the matrix, and whether there are more than fit.
func columns(loads []check.Load) (names []string, more bool) {
	times := map[string]int{}
	for i := range loads {
		times[column(&loads[i])]++
	}
	for n := range times {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := times[b] - times[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names[:min(len(names), mostColumns)], len(names) > mostColumns
}

// column is the name that a secret has in the matrix.
func column(l *check.Load) string {
	if l.Name != "" {
		return Text(l.Name)
	}
	return Text(path.Base(l.Path))
}

func mark(l *check.Load) string {
	m := map[check.Verdict]string{check.Allowed: "\u2713", check.Denied: "\u2717"}[l.Verdict]
	if m == "" {
		m = "?"
	}
	if l.Suppressed {
		m = "(" + m + ")"
	}
	return m
}

func loadID(i int) string { return fmt.Sprintf("load-%d", i+1) }

func htmlLoad(i int, l *check.Load, accepted map[string]*check.Suppression, why map[string]string) htmlEntry {
	e := htmlEntry{
		ID: loadID(i), Kind: string(l.Verdict), Class: string(l.Verdict), Tag: string(l.Verdict), Service: Text(l.Service),
		Title: Text(string(l.Action)) + " " + what(*l), Place: place(l.File, l.Line, l.Column), Snippet: Text(l.Snippet),
		Grants: Text(strings.Join(l.Grants, ", ")),
	}
	if l.Suppressed {
		e.Tag += ", accepted"
	}
	for _, r := range l.Reasons {
		reason := htmlReason{Class: string(r.Severity), Tag: Text(string(r.Severity)), Name: Text(r.Code), Message: Text(r.Message), Fix: Text(r.Fix), Why: why[r.Code]}
		if s := accepted[r.Fingerprint]; s != nil {
			reason.Accepted = acceptance(s)
		}
		e.Reasons = append(e.Reasons, reason)
	}
	return e
}

func htmlFinding(i int, f check.Finding, why map[string]string) htmlEntry {
	r := htmlReason{Class: string(f.Severity), Tag: Text(string(f.Severity)), Name: Text(f.Rule), Message: Text(f.Message), Fix: Text(f.Fix), Why: why[f.Rule]}
	if f.Suppressed != nil {
		r.Accepted = acceptance(f.Suppressed)
	}
	return htmlEntry{
		ID: fmt.Sprintf("finding-%d", i+1), Kind: "finding", Class: "note", Tag: "descriptor", Service: Text(f.Service),
		Place: place(f.File, f.Line, f.Column), Snippet: Text(f.Snippet), Reasons: []htmlReason{r},
	}
}

// pages is what the page of each rule says about its sense.
func pages() map[string]string {
	m := map[string]string{}
	for _, r := range rules.All() {
		m[r.ID] = r.Means + " " + r.Why
	}
	return m
}
