package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const (
	obligationsNone = `"obligations":{"max_bytes":0,"min_memory":"","min_length":0}`
	allowJSON       = `[{"result":{"allow":true,"reasons":[],` + obligationsNone + `,"grants":["g"]}}]`
)

func reasonJSON(code, severity string) string {
	return `{"code":"` + code + `","message":"m","severity":"` + severity + `","fix":"f"}`
}

// TestOnlyAWellFormedAllowAllows: everything else is a denial, and an error that says so.
func TestOnlyAWellFormedAllowAllows(t *testing.T) {
	swap := func(old, replacement string) string { return strings.Replace(allowJSON, old, replacement, 1) }
	tests := map[string]string{
		"empty":                    ``,
		"undefined":                `[]`,
		"null":                     `[{"result":null}]`,
		"true":                     `[{"result":true}]`,
		"several results":          `[{"result":{}},{"result":{}}]`,
		"two allows":               strings.TrimSuffix(allowJSON, "]") + "," + allowJSON[1:],
		"trailing bytes":           allowJSON + "x",
		"trailing NUL":             allowJSON + "\x00",
		"truncated":                allowJSON[:len(allowJSON)-2],
		"allow is a string":        swap(`true`, `"true"`),
		"allow is 1":               swap(`true`, `1`),
		"allow is missing":         swap(`"allow":true,`, ``),
		"allow twice":              swap(`"allow":true,`, `"allow":false,"allow":true,`),
		"unknown member":           swap(`"allow":true,`, `"allow":true,"allowed":true,`),
		"escaped member":           swap(`"allow":true,`, `"\u0061llow":true,`),
		"reasons are missing":      swap(`"reasons":[],`, ``),
		"reasons are an object":    swap(`[],`, `{},`),
		"an error beside an allow": swap(`[],`, `[`+reasonJSON("x", "error")+`],`),
		"bad code":                 swap(`[],`, `[`+reasonJSON("No_Grant", "note")+`],`),
		"empty code":               swap(`[],`, `[`+reasonJSON("", "note")+`],`),
		"long code":                swap(`[],`, `[`+reasonJSON(strings.Repeat("a", 65), "note")+`],`),
		"longer than escapes are":  swap(`[],`, `[`+reasonJSON(strings.Repeat("a", 6*maxCode+1), "note")+`],`),
		"unknown severity":         swap(`[],`, `[`+reasonJSON("x", "fatal")+`],`),
		"long message":             swap(`[],`, `[`+strings.Replace(reasonJSON("x", "note"), `"m"`, `"`+strings.Repeat("m", maxText+1)+`"`, 1)+`],`),
		"unknown obligation":       swap(`"max_bytes":0`, `"max_bytes":0,"log":1`),
		"missing obligation":       swap(`"max_bytes":0,`, ``),
		"negative obligation":      swap(`"max_bytes":0`, `"max_bytes":-1`),
		"fractional obligation":    swap(`"max_bytes":0`, `"max_bytes":1.5`),
		"huge obligation":          swap(`"max_bytes":0`, `"max_bytes":99999999999999999999`),
		"unknown memory":           swap(`"min_memory":""`, `"min_memory":"enclave"`),
		"grants are numbers":       swap(`["g"]`, `[1]`),
		"too many grants":          swap(`["g"]`, `["g"`+strings.Repeat(`,"g"`, maxGrants)+`]`),
		"not UTF-8":                swap(`"g"`, "\"\xff\""),
		"control character":        swap(`"g"`, "\"a\nb\""),
	}
	for name, raw := range tests {
		t.Run("POL-2003/"+name, func(t *testing.T) {
			d, err := parseDecision([]byte(raw))
			if d.Allowed() || !errors.Is(err, errMalformed) {
				t.Errorf("allowed %v, error %v", d.Allowed(), err)
			}
		})
	}
	t.Run("control", func(t *testing.T) {
		for _, raw := range []string{allowJSON, " \n" + strings.ReplaceAll(allowJSON, ",", " , "), swap(`[],`, `[`+reasonJSON("x", "warning")+`],`)} {
			d, err := parseDecision([]byte(raw))
			if !d.Allowed() || err != nil {
				t.Errorf("allowed %v, error %v", d.Allowed(), err)
			}
		}
	})
	if may, err := parseBool([]byte(`[{"result":1}]`)); may || err == nil {
		t.Errorf("may_ask: %v %v", may, err)
	}
}

// TestDamagedDecisions: a decision with any bytes removed, replaced or repeated never turns into another allow than the
// one that was sent, and never panics.
func TestDamagedDecisions(t *testing.T) {
	deny := strings.Replace(allowJSON, "true", "false", 1)
	rapid.Check(t, func(rt *rapid.T) {
		b := []byte(deny)
		at := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
		n := rapid.IntRange(0, min(8, len(b)-at)).Draw(rt, "n")
		put := rapid.SliceOfN(rapid.SampledFrom([]byte(`{}[]",:\0truefals `)), 0, 8).Draw(rt, "put")
		damaged := append(append(append([]byte{}, b[:at]...), put...), b[at+n:]...)
		if d, err := parseDecision(damaged); d.Allowed() && !strings.Contains(string(damaged), `"allow":true`) {
			rt.Errorf("%s allows: %v", damaged, err)
		}
	})
}

// TestDecisionJSON: what the audit log writes of a decision is what the guest said.
func TestDecisionJSON(t *testing.T) {
	raw := strings.Replace(allowJSON, "[],", "["+reasonJSON("x", "note")+"],", 1)
	d, err := parseDecision([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseDecision([]byte(`[{"result":` + string(b) + `}]`))
	if err != nil || !again.Allowed() || len(again.Reasons()) != 1 || again.Reasons()[0] != d.Reasons()[0] || again.Grants()[0] != "g" {
		t.Errorf("%s: %v", b, err)
	}
}
