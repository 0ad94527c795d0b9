package recorded

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/llorch/secrets-management/policy"
)

// Why an entry cannot be judged again. The words are an interface: reports count by them.
const (
	WhyNotJSON   = "not_json"     // a line that is no JSON object
	WhyNoInput   = "no_input"     // an entry without its input, or with one that was masked
	WhyBadInput  = "bad_input"    // an input that is not one of the contract
	WhyNoVerdict = "no_verdict"   // the load ended before the policy had judged it
	WhyBadResult = "bad_result"   // a result that is not one of the contract
	WhyOtherPath = "other_path"   // the answer of another entrypoint
	WhyTooLong   = "too_long"     // a line of more than 8 MiB
	WhyEngine    = "engine_error" // the new policy fails on it
)

// Entry is one line of a decision log.
type Entry struct {
	ID        string          `json:"decision_id"`
	Timestamp string          `json:"timestamp"`
	Path      string          `json:"path"`
	Input     json.RawMessage `json:"input"`
	Result    json.RawMessage `json:"result"`
	Error     json.RawMessage `json:"error"`
	Outcome   string          `json:"outcome"`
	Erased    []string        `json:"erased"`
	Masked    []string        `json:"masked"`
}

// Kind is what an entry is.
type Kind byte

// An entry can be judged again, is of no interest, or cannot be.
const (
	Judged  Kind = iota + 1 // a verdict
	Aside                   // how a load ended, or a line of a log that says nothing of decisions
	Unclear                 // see the reason
)

// Parse takes a line apart. why is one of the reasons above where the entry is Unclear, and detail says more.
func Parse(line []byte) (e Entry, kind Kind, why, detail string) {
	if err := json.Unmarshal(line, &e); err != nil {
		return e, Unclear, WhyNotJSON, place("entry", err).Error()
	}
	path := strings.TrimPrefix(e.Path, "/")
	hidden := func(list []string) bool {
		for _, p := range list {
			if p == "/input" || strings.HasPrefix(p, "/input/") || p == "/result" || strings.HasPrefix(p, "/result/") {
				return true
			}
		}
		return false
	}
	switch {
	case e.Outcome != "":
		return e, Aside, "", ""
	case e.ID == "" && e.Path == "" && e.Input == nil && e.Result == nil:
		return e, Aside, "", "" // what else a server logs
	case path != policy.EntrypointDecision && path != policy.EntrypointMayAsk:
		return e, Unclear, WhyOtherPath, fmt.Sprintf("path %.100q", e.Path)
	case len(e.Input) == 0 || string(e.Input) == "null":
		return e, Unclear, WhyNoInput, "the entry has no input"
	case hidden(e.Erased) || hidden(e.Masked):
		return e, Unclear, WhyNoInput, "a part of it was erased or masked"
	case len(e.Result) == 0 || string(e.Result) == "null":
		return e, Unclear, WhyNoVerdict, "the entry has no result"
	}
	e.Path = path
	return e, Judged, "", ""
}

// Verdict is a result as it was recorded.
type Verdict struct {
	Allowed     bool
	Codes       []string
	Grants      []string
	Obligations policy.Obligations
}

// Verdict reads the result of an entry. It reports false where the policy never came to judge.
func (e *Entry) Verdict() (v Verdict, judged bool, err error) {
	if e.Path == policy.EntrypointMayAsk && (string(e.Result) == "true" || string(e.Result) == "false") { // OPA's own
		return Verdict{Allowed: string(e.Result) == "true"}, true, nil
	}
	var r struct {
		Allow       *bool                                           `json:"allow"`
		Reasons     []struct{ Code, Message, Severity, Fix string } `json:"reasons"`
		Grants      []string                                        `json:"grants"`
		Obligations struct {
			MaxBytes  int64         `json:"max_bytes"`
			MinLength int64         `json:"min_length"`
			MinMemory policy.Memory `json:"min_memory"`
		} `json:"obligations"`
	}
	if err := json.Unmarshal(e.Result, &r); err != nil {
		return v, false, place("result", err)
	}
	if r.Allow == nil {
		return v, false, errors.New("result.allow is missing")
	}
	v = Verdict{Allowed: *r.Allow, Grants: r.Grants, Obligations: policy.Obligations(r.Obligations)}
	for _, reason := range r.Reasons {
		v.Codes = append(v.Codes, reason.Code)
		if v.Allowed && reason.Severity == string(policy.SeverityError) {
			return v, false, errors.New("it allows beside a reason of severity error")
		}
	}
	failed := len(e.Error) > 0 && string(e.Error) != `""` && string(e.Error) != "null"
	return v, v.Allowed || len(v.Codes) > 0 || !failed, nil
}
