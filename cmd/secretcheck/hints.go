package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/llorch/secrets-management/internal/spelling"
	"github.com/llorch/secrets-management/policy"
	"github.com/llorch/secrets-management/policy/rego"
)

// What to do about a report that cannot be written.
const (
	fileHint   = "name a file in a folder that exists and that you may write to"
	stdoutHint = "what reads the output has gone away, or its disk is full"

	noDecisionHint = "name logs in which verdicts stand with their input"
)

const meantHint = "did you mean %s?"

// didYouMean is the hint for a name that is none of those that there are: what was meant, or else what to do.
func didYouMean(name string, known []string, otherwise string) string {
	if meant := spelling.Closest(name, known); meant != "" {
		return fmt.Sprintf(meantHint, meant)
	}
	return otherwise
}

// nextStep is the hint for an error whose place in the code has none of its own: by its kind, "" where there is nothing to do.
func nextStep(err error) string {
	switch {
	case errors.Is(err, policy.ErrLimit):
		return "the policy is larger or slower than services allow: fewer grants, or simpler rules"
	case errors.Is(err, policy.ErrSmoke):
		return "mend the rules or the grants, or the requests and verdicts in smoke.json"
	case errors.Is(err, policy.ErrGrants):
		return "grants stand in data.json under secrets.services; policy/rego/schemas/grants.json has their shape"
	case errors.Is(err, rego.ErrSource):
		return "a policy is a folder with data.json, the grants, and maybe *.rego and smoke.json; look at it with secretcheck policy check DIR"
	case errors.Is(err, fs.ErrNotExist):
		return "look for it with ls; a relative name begins in the working directory"
	case errors.Is(err, fs.ErrPermission):
		return "run it as a user that may, or change who may"
	}
	return ""
}
