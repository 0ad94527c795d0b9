package auditlog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sealed is a log of n entries, as lines, and its head.
func sealed(t testing.TB, n int) ([][]byte, Head) {
	t.Helper()
	var lines [][]byte
	var head Head
	for i := range n {
		line, next, err := seal(fmt.Appendf(nil, `{"decision_id":"%d","error":"a\u0000\"b"}`, i), head, 0)
		if err != nil {
			t.Fatal(err)
		}
		lines, head = append(lines, line), next
	}
	return lines, head
}

func verify(t testing.TB, after, expect, recorded Head, files ...[]byte) *Verifier {
	t.Helper()
	v := NewVerifier(after, expect)
	for i, f := range files {
		if err := v.Read(fmt.Sprintf("audit.%d", i), bytes.NewReader(f)); err != nil {
			t.Fatal(err)
		}
	}
	v.Finish(recorded)
	return v
}

func (v *Verifier) rules() []string {
	var rules []string
	for _, f := range v.Findings {
		rules = append(rules, f.Rule)
	}
	return rules
}

// TestVerify: AUD-1003. What was done to a log, and what the verifier says.
func TestVerify(t *testing.T) {
	lines, head := sealed(t, 10)
	all := func(lines ...[]byte) []byte { return bytes.Join(lines, nil) }
	headOf := func(i int) Head { l, _ := parse(bytes.TrimSpace(lines[i])); return l.Head }
	forged := func(i int, after Head) []byte {
		line, _, err := seal([]byte(`{"decision_id":"forged"}`), after, 0)
		if err != nil {
			t.Fatal(i, err)
		}
		return line
	}
	own := func(b []byte) []byte { // the same place and hash, other content
		return bytes.Replace(b, []byte(`"decision_id":"3"`), []byte(`"decision_id":"7"`), 1)
	}
	type test struct {
		log                     []byte
		after, expect, recorded Head
		want                    []string
	}
	for name, tt := range map[string]test{
		"changed":                        {log: all(all(lines[:3]...), own(lines[3]), all(lines[4:]...)), want: []string{RuleTampered}},
		"written anew in the middle":     {log: all(all(lines[:3]...), forged(3, headOf(2)), all(lines[4:]...)), want: []string{RuleBrokenChain}},
		"written anew to the end":        {log: all(all(lines[:9]...), forged(9, headOf(8))), expect: head, recorded: head, want: []string{RuleHeadMissing, RuleBrokenChain}},
		"one taken out":                  {log: all(all(lines[:3]...), all(lines[4:]...)), want: []string{RuleMissing}},
		"several taken out":              {log: all(all(lines[:3]...), all(lines[7:]...)), want: []string{RuleMissing}},
		"the first taken out":            {log: all(lines[1:]...), want: []string{RuleMissingStart}},
		"the last cut off":               {log: all(lines[:9]...), recorded: head, want: []string{RuleMissing}},
		"the last cut off, without head": {log: all(lines[:9]...), expect: head, want: []string{RuleHeadMissing}},
		"the last cut in two":            {log: all(lines...)[:len(all(lines...))-40], recorded: head, want: []string{RuleNotAnEntry, RuleMissing}},
		"its line feed cut off":          {log: bytes.TrimSuffix(all(lines...), []byte("\n")), want: []string{RuleNotAnEntry}},
		"two exchanged":                  {log: all(all(lines[:3]...), lines[4], lines[3], all(lines[5:]...)), want: []string{RuleMissing, RuleOutOfOrder, RuleMissing}},
		"one twice":                      {log: all(all(lines[:4]...), lines[3], all(lines[4:]...)), want: []string{RuleOutOfOrder}},
		"a whole log behind it":          {log: all(all(lines...), all(lines[:2]...)), want: []string{RuleOutOfOrder}},
		"a line put in":                  {log: all(all(lines[:4]...), []byte("all is well\n"), all(lines[4:]...)), want: []string{RuleNotAnEntry}},
		"an entry without a chain put in": {
			log: all(all(lines[:4]...), []byte(`{"decision_id":"x"}`+"\n"), all(lines[4:]...)), want: []string{RuleNotAnEntry},
		},
		"an empty line put in":               {log: all(all(lines[:4]...), []byte("\n"), all(lines[4:]...)), want: []string{RuleNotAnEntry}},
		"a second member of the name":        {log: bytes.Replace(all(lines...), []byte(`"decision_id":"3"`), []byte(`"seq":9,"a":"b0"`), 1), want: []string{RuleNotAnEntry, RuleMissing}},
		"older entries elsewhere":            {log: all(lines[5:]...), after: headOf(4), want: nil},
		"older entries, other ones":          {log: all(lines[5:]...), after: headOf(3), want: []string{RuleMissingStart}},
		"another head before":                {log: all(lines[5:]...), after: Head{5, headOf(1).Hash}, want: []string{RuleBrokenChain}},
		"a head of long ago":                 {log: all(lines...), expect: headOf(2), want: nil},
		"the head that it follows":           {log: all(lines[5:]...), after: headOf(4), expect: headOf(4), want: nil},
		"whole":                              {log: all(lines...), expect: head, recorded: head, want: nil},
		"grown since the head file was read": {log: all(lines...), recorded: headOf(8), want: nil},
		"empty":                              {log: nil, want: nil},
	} {
		t.Run("AUD-1003 "+name, func(t *testing.T) {
			v := verify(t, tt.after, tt.expect, tt.recorded, tt.log)
			if got := v.rules(); !slices.Equal(got, tt.want) || v.Intact() != (len(tt.want) == 0) {
				t.Errorf("%+v, want %q", v.Findings, tt.want)
			}
		})
	}
	t.Run("AUD-1003 over several files", func(t *testing.T) {
		v := verify(t, Head{}, head, head, all(lines[:4]...), nil, all(lines[4:]...))
		if !v.Intact() || v.Entries != 10 || v.Head != head || v.Files[2].First != 5 || v.Files[0].Last != 4 {
			t.Errorf("%+v", v)
		}
		if v := verify(t, Head{}, Head{}, Head{}, all(lines[:4]...), all(lines[5:]...)); !slices.Equal(v.rules(), []string{RuleMissing}) {
			t.Errorf("%+v", v.Findings)
		}
	})
	t.Run("AUD-1003 the list of findings is bounded", func(t *testing.T) {
		v := verify(t, Head{}, Head{}, Head{}, bytes.Repeat(lines[0], 500))
		if v.Intact() || len(v.Findings) != MaxFindings || v.Omitted != 499-MaxFindings {
			t.Errorf("%d findings, %d omitted", len(v.Findings), v.Omitted)
		}
	})
	t.Run("AUD-1003 a line without an end", func(t *testing.T) {
		v := verify(t, Head{}, Head{}, Head{}, all(lines[0], bytes.Repeat([]byte("x"), 3*MaxLine), lines[1]))
		if v.Intact() {
			t.Error("intact")
		}
	})
}

// TestTornWritesAreTold: AUD-1005. What a write leaves that went wrong is a note if the next entry says the same.
func TestTornWritesAreTold(t *testing.T) {
	lines, head := sealed(t, 2)
	half := []byte(`{"seq":3,"prev":"00`)
	after := func(torn int64) []byte {
		line, _, err := seal([]byte(`{"decision_id":"3"}`), head, torn)
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	for name, tt := range map[string]struct {
		between []byte
		torn    int64
		want    []string
	}{
		"told":           {append(slices.Clip(half), '\n'), int64(len(half)) + 1, []string{RuleTorn}},
		"told, twice":    {[]byte(string(half) + "\n" + string(half) + "\n"), 2*int64(len(half)) + 2, []string{RuleTorn}},
		"not told":       {append(slices.Clip(half), '\n'), 0, []string{RuleNotAnEntry}},
		"told otherwise": {append(slices.Clip(half), '\n'), 7, []string{RuleNotAnEntry}},
		"told, and gone": {nil, 20, []string{RuleMissing}},
		"a whole line":   {[]byte("{\"a\":1}\n"), 8, []string{RuleNotAnEntry}},
	} {
		t.Run("AUD-1005 "+name, func(t *testing.T) {
			v := verify(t, Head{}, Head{}, Head{}, bytes.Join([][]byte{lines[0], lines[1], tt.between, after(tt.torn)}, nil))
			if got := v.rules(); !slices.Equal(got, tt.want) || v.Intact() != (tt.want[0] == RuleTorn) {
				t.Errorf("%+v, want %q", v.Findings, tt.want)
			}
		})
	}
}

// TestEveryByteCounts: AUD-1003. No byte of a log can be another one without that being seen.
func TestEveryByteCounts(t *testing.T) {
	lines, head := sealed(t, 3)
	log := bytes.Join(lines, nil)
	for i := range log {
		for _, c := range []byte{log[i] ^ 1, log[i] ^ 0x20, '\n', '"', '0', 0} {
			if c == log[i] {
				continue
			}
			changed := bytes.Clone(log)
			changed[i] = c
			if verify(t, Head{}, Head{}, head, changed).Intact() {
				t.Errorf("byte %d, %q for %q: intact", i, c, log[i])
			}
		}
		if verify(t, Head{}, Head{}, head, log[:i]).Intact() {
			t.Errorf("cut off at %d: intact", i)
		}
	}
}

// TestAnyRearrangementShows: AUD-1003. The lines of a log in any other order or number are not that log.
func TestAnyRearrangementShows(t *testing.T) {
	lines, head := sealed(t, 8)
	changed := 0
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.SliceOfN(rapid.IntRange(0, len(lines)-1), 1, 12).Draw(rt, "order")
		var log []byte
		for _, i := range order {
			log = append(log, lines[i]...)
		}
		whole := slices.Equal(order, []int{0, 1, 2, 3, 4, 5, 6, 7})
		if !whole {
			changed++
		}
		if verify(t, Head{}, Head{}, head, log).Intact() != whole {
			rt.Fatalf("%v: intact is not %v", order, whole)
		}
	})
	if changed == 0 {
		t.Error("nothing was tried")
	}
}

// TestParseHead: AUD-1003. A head can be pinned as text.
func TestParseHead(t *testing.T) {
	_, head := sealed(t, 2)
	if got, err := ParseHead(head.String()); err != nil || got != head {
		t.Errorf("%v %v", got, err)
	}
	digits := strings.Repeat("ab", 32)
	for _, bad := range []string{"", ":", "1", "0:" + digits, "01:" + digits, "-1:" + digits, "1:" + digits[1:], "1:" + digits + "0", "1:" + strings.ToUpper(digits), "1:" + digits[1:] + "g", "99999999999999999999:" + digits} {
		if h, err := ParseHead(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, h)
		}
	}
}

// TestSealRefuses: AUD-1003. What would not be a line of its own is not written.
func TestSealRefuses(t *testing.T) {
	for _, bad := range []string{"", "{}", "[]", "{\"a\":1}\n", "{\"a\":\n1}", `{"a":1`, `{"a":"` + strings.Repeat("x", MaxLine) + `"}`} {
		if line, _, err := seal([]byte(bad), Head{}, 0); err == nil {
			t.Errorf("%.20q gives %.80q", bad, line)
		}
	}
	line, _, err := seal([]byte(`{"a":"ü\u0007`+"\u009b\u202e\U0001f511\x7f"+`"}`), Head{}, 0)
	if err != nil || !bytes.Contains(line, []byte(`"a":"\u00fc\u0007\u009b\u202e\ud83d\udd11\u007f"`)) {
		t.Errorf("%q %v", line, err)
	}
}

// FuzzVerify: AUD-1003. What passes for a log is one that this package would have written, to the byte.
func FuzzVerify(f *testing.F) {
	lines, _ := sealed(f, 3)
	f.Add(bytes.Join(lines, nil))
	f.Add(lines[0])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		v := verify(t, Head{}, Head{}, Head{}, log)
		if !v.Intact() || len(v.Findings) > 0 {
			return
		}
		var head Head
		for line := range bytes.Lines(log) {
			_, rest, _ := bytes.Cut(line, []byte(`","`))
			entry, _, _ := bytes.Cut(append([]byte(`{"`), rest...), []byte(hashMember))
			again, next, err := seal(append(entry, '}'), head, 0)
			if err != nil || !bytes.Equal(again, line) {
				t.Fatalf("%q passes, %q would be written (%v)", line, again, err)
			}
			head = next
		}
	})
}
