package change

import (
	"testing"

	"github.com/llorch/secrets-management/policy"
)

func allowed(most, least int64, m policy.Memory) Answer {
	return NewAnswer(Allowed, nil, []string{"g"}, policy.Obligations{MaxBytes: most, MinLength: least, MinMemory: m})
}

// TestCHK1249WhatWidens: CHK-1249. Whatever gives a service more than before is a widening, and nothing else is.
func TestCHK1249WhatWidens(t *testing.T) {
	denied, undecided := NewAnswer(Denied, []string{"no_grant"}, nil, policy.Obligations{}), NewAnswer(Undecided, nil, nil, policy.Obligations{})
	for _, tt := range []struct {
		from, to Answer
		want     Kind
		widens   bool
	}{
		{denied, denied, "", false},
		{denied, allowed(10, 0, ""), Gains, true},
		{denied, undecided, MayGain, true},
		{undecided, allowed(10, 0, ""), Gains, true},
		{undecided, denied, "", false},
		{allowed(10, 0, ""), denied, Loses, false},
		{allowed(10, 0, ""), undecided, MayLose, false},
		{allowed(10, 0, ""), allowed(10, 0, ""), "", false},
		{allowed(10, 0, ""), allowed(11, 0, ""), Looser, true},
		{allowed(10, 0, ""), allowed(0, 0, ""), Looser, true}, // 0 is no limit
		{allowed(0, 0, ""), allowed(10, 0, ""), Stricter, false},
		{allowed(10, 16, ""), allowed(10, 8, ""), Looser, true},
		{allowed(10, 8, ""), allowed(10, 16, ""), Stricter, false},
		{allowed(10, 0, "locked"), allowed(10, 0, ""), Looser, true},
		{allowed(10, 0, "locked"), allowed(10, 0, "heap"), Looser, true},
		{allowed(10, 0, "locked"), allowed(10, 0, "memfd_secret"), Stricter, false},
		{allowed(10, 0, "memfd_secret"), allowed(5, 9, "locked"), Looser, true}, // one is weaker
	} {
		kind, differs := Between(tt.from, tt.to)
		if kind != tt.want || differs != (tt.want != "") || kind.Widens() != tt.widens {
			t.Errorf("%+v to %+v: %q, widens %v", tt.from, tt.to, kind, kind.Widens())
		}
	}
}

// TestCHK1249IdsAreOfOneChange: CHK-1249. An id covers the same change wherever it is seen, and no other.
func TestCHK1249IdsAreOfOneChange(t *testing.T) {
	about := Subject{Service: "a", Action: policy.LoadSecret, Source: policy.SourceFile, Path: "/a"}
	denied := func(codes ...string) Answer { return NewAnswer(Denied, codes, nil, policy.Obligations{}) }
	other := about
	other.When = "when everyone can read the file"
	rows := []*Row{
		NewRow(about, denied("no_grant"), allowed(10, 0, "")),
		NewRow(about, denied("mode_too_open"), allowed(10, 0, "")),
		NewRow(about, denied("no_grant"), allowed(20, 0, "")),
		NewRow(other, denied("no_grant"), allowed(10, 0, "")),
		NewRow(about, allowed(10, 0, ""), allowed(20, 0, "")),
		NewRow(about, allowed(20, 0, ""), allowed(30, 0, "")),
		NewRow(Subject{Service: "a", Source: "file", Name: "/a", Action: policy.LoadSecret}, denied("no_grant"), allowed(10, 0, "")),
	}
	var table Table
	for _, r := range rows {
		table.Add(r, Witness{Place: "first"})
	}
	if len(table.Rows) != len(rows) {
		t.Errorf("%d ids for %d changes", len(table.Rows), len(rows))
	}
	table.Add(NewRow(about, denied("no_grant"), NewAnswer(Allowed, nil, []string{"renamed"}, policy.Obligations{MaxBytes: 10})), Witness{Place: "second"})
	if len(table.Rows) != len(rows) || table.Rows[0].Count != 2 || table.Rows[0].Witness.Place != "first" {
		t.Errorf("the same change is another: %+v", table.Rows[0])
	}
	if unknown := table.Accept([]string{rows[0].ID, "x"}); len(unknown) != 1 || !table.Open() {
		t.Errorf("accepting one of several: unknown %q, open %v", unknown, table.Open())
	}
	for _, r := range rows {
		table.Accept([]string{r.ID})
	}
	if table.Open() {
		t.Error("all are accepted, and it is open")
	}
	table.Omitted = 1
	if !table.Open() {
		t.Error("a widening that is not listed passes")
	}
}

// TestCHK1242RowsAreBounded: CHK-1242.
func TestCHK1242RowsAreBounded(t *testing.T) {
	var table Table
	for i := range maxRows + 5 {
		about := Subject{Service: string(rune('a' + i%26)), Path: string(rune(i + 1000))}
		table.Add(NewRow(about, NewAnswer(Denied, nil, nil, policy.Obligations{}), allowed(1, 0, "")), Witness{})
	}
	if len(table.Rows) != maxRows || table.Omitted != 5 || table.Widening != maxRows+5 {
		t.Errorf("%d rows, %d omitted, %d widening", len(table.Rows), table.Omitted, table.Widening)
	}
}
