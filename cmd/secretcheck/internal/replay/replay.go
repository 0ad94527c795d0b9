// Package replay puts recorded decisions to a policy again.
package replay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/llorch/secrets-management/cmd/secretcheck/internal/change"
	"github.com/llorch/secrets-management/cmd/secretcheck/internal/recorded"
	"github.com/llorch/secrets-management/policy"
)

// Decider is a policy.
type Decider interface {
	Decide(ctx context.Context, r *policy.Request) (policy.Decision, error)
	Ask(ctx context.Context, r *policy.Request) (policy.Decision, error)
}

// Ask puts a request to a policy as the loader does: first whether it may be asked for at all, then with its facts.
// Codes are those of the policy's own words.
func Ask(ctx context.Context, p Decider, r *policy.Request) (change.Answer, error) {
	d, err := p.Ask(ctx, r)
	if err != nil {
		return change.Answer{}, err
	}
	asks := d.Allowed()
	if d, err = p.Decide(ctx, r); err != nil {
		return change.Answer{}, err
	}
	verdict := change.Denied
	if asks && d.Allowed() {
		verdict = change.Allowed
	}
	codes := d.Codes()
	if !asks && d.Allowed() {
		codes = []string{"no_grant"}
	}
	return change.NewAnswer(verdict, codes, d.Grants(), d.Obligations()), nil
}

// Reference answers what can be told without facts.
func Reference(ctx context.Context, p Decider, r *policy.Request) (change.Answer, error) {
	d, err := p.Ask(ctx, r)
	if err != nil {
		return change.Answer{}, err
	}
	if !d.Allowed() {
		return change.NewAnswer(change.Denied, d.Codes(), nil, policy.Obligations{}), nil
	}
	return change.NewAnswer(change.Undecided, nil, nil, policy.Obligations{}), nil
}

// Result is what a replay gave.
type Result struct {
	Table    change.Table
	Entries  int            // lines of the logs that are not empty
	Replayed int            // verdicts that were judged again
	Same     int            // of these, those with the same answer
	Other    int            // of these, denials for other reasons
	Aside    int            // outcomes, and what else stands in the logs
	Unclear  map[string]int // what could not be judged again, by reason
	Samples  []Sample       // the first of each reason
}

// Sample is an entry that could not be judged again.
type Sample struct {
	Why    string `json:"why"`
	Place  string `json:"place"`
	Detail string `json:"detail"`
}

// NotReplayed counts what could not be judged again.
func (r *Result) NotReplayed() (n int) {
	for _, k := range r.Unclear {
		n += k
	}
	return n
}

// Replayer puts logs to a policy. It is for one goroutine.
type Replayer struct {
	New Decider

	// Old answers instead of the result that was recorded; nil takes that.
	Old Decider

	// Each is told every request that can be read, whether or not its load came to a verdict, with the answer of New to
	// all of it, in order; nil for nobody.
	Each func(r *policy.Request, a change.Answer)

	// Progress is told how many entries were read; nil for nobody.
	Progress func(entries int)

	Result    Result
	memo      memo
	unchanged outcome // of all that stays as it is
}

// outcome is what became of an entry. Many entries share one.
type outcome struct {
	row     *change.Row // nil where nothing changes
	other   bool        // denied for another reason
	request *policy.Request
	answer  change.Answer
	why     string // it could not be judged
	detail  string
}

// What is remembered at most, and what an entry takes of it: some are shared, others hold a request.
const (
	maxMemo     = 64 << 20
	sharedBytes = 128
	ownBytes    = 4096
)

// memo remembers what became of an input with a result, by the SHA-256 of both. It is safe for concurrent use.
type memo struct {
	mu    sync.RWMutex
	known map[[sha256.Size]byte]*outcome
	bytes int
}

func (m *memo) get(key [sha256.Size]byte) *outcome {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.known[key]
}

func (m *memo) put(key [sha256.Size]byte, o *outcome) {
	size := ownBytes
	if o.request == nil && o.why == "" {
		size = sharedBytes
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || m.bytes+size > maxMemo {
		m.known, m.bytes = map[[sha256.Size]byte]*outcome{}, 0
	}
	m.known[key] = o
	m.bytes += size
}

// batchSize is how many lines a worker takes at once, and batchBytes how much of them.
const (
	batchSize  = 256
	batchBytes = 1 << 20
)

type batch struct {
	lines []recorded.Line
	bytes int
	done  chan []judged
}

type judged struct {
	line    int
	entry   recorded.Entry
	kind    recorded.Kind
	outcome *outcome
}

// Read replays one log. Lines are judged by several goroutines and counted in their order. The error is that of the
// reader, or of ctx, and then the result is none. A reader that waits at the end of ctx is left to itself.
func (p *Replayer) Read(ctx context.Context, name string, r io.Reader) error {
	workers := runtime.GOMAXPROCS(0)
	work, order := make(chan *batch, workers), make(chan *batch, 2*workers)
	failed := make(chan error, 1)
	for range workers {
		go func() {
			for b := range work {
				b.done <- p.judge(ctx, b.lines)
			}
		}()
	}
	go func() {
		defer close(work)
		defer close(order)
		failed <- batches(ctx, r, func(b *batch) error {
			for _, to := range []chan *batch{order, work} {
				select {
				case to <- b:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, more := <-order:
			if !more {
				return errors.Join(<-failed, ctx.Err())
			}
			if err := p.take(ctx, name, b); err != nil {
				return err
			}
		}
	}
}

// take counts a batch once it is judged.
func (p *Replayer) take(ctx context.Context, name string, b *batch) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case list := <-b.done:
		for _, j := range list {
			p.count(name, j)
		}
	}
	if p.Progress != nil {
		p.Progress(p.Result.Entries)
	}
	return nil
}

func batches(ctx context.Context, r io.Reader, send func(*batch) error) error {
	fresh := func() *batch { return &batch{done: make(chan []judged, 1)} }
	b := fresh()
	err := recorded.Lines(r, func(l recorded.Line) error {
		b.lines, b.bytes = append(b.lines, l), b.bytes+len(l.Text)
		if len(b.lines) >= batchSize || b.bytes >= batchBytes {
			full := b
			b = fresh()
			return send(full)
		}
		return ctx.Err()
	})
	if len(b.lines) > 0 && err == nil {
		err = send(b)
	}
	return err
}

func (p *Replayer) judge(ctx context.Context, lines []recorded.Line) []judged {
	out := make([]judged, len(lines))
	for i, l := range lines {
		j := &out[i]
		j.line = l.Number
		if l.TooLong {
			j.kind, j.outcome = recorded.Unclear, &outcome{why: recorded.WhyTooLong, detail: fmt.Sprintf("more than %d bytes", recorded.MaxLine)}
			continue
		}
		if e, ok := recorded.Quick(l.Text); ok {
			if o := p.memo.get(keyOf(&e)); o != nil && o.row == nil && o.why == "" { // else its place may be told
				j.kind, j.outcome = recorded.Judged, o
				continue
			}
		}
		var why, detail string
		j.entry, j.kind, why, detail = recorded.Parse(l.Text)
		switch j.kind {
		case recorded.Unclear:
			j.outcome = &outcome{why: why, detail: detail}
		case recorded.Aside:
		case recorded.Judged:
			j.outcome = p.remembered(ctx, &j.entry)
		}
	}
	return out
}

func (p *Replayer) remembered(ctx context.Context, e *recorded.Entry) *outcome {
	key := keyOf(e)
	if o := p.memo.get(key); o != nil {
		return o
	}
	o := p.again(ctx, e)
	p.memo.put(key, o)
	return o
}

// keyOf is what an answer depends on, each part with its length.
func keyOf(e *recorded.Entry) (key [sha256.Size]byte) {
	h := sha256.New()
	var size [8]byte
	for _, part := range [][]byte{e.Input, e.Result, e.Error, []byte(e.Path)} {
		binary.LittleEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	h.Sum(key[:0])
	return key
}

// again judges one entry.
func (p *Replayer) again(ctx context.Context, e *recorded.Entry) *outcome {
	was, decided, err := e.Verdict()
	if err != nil {
		return &outcome{why: recorded.WhyBadResult, detail: err.Error()}
	}
	if !decided && p.Old == nil && p.Each == nil {
		return undecided()
	}
	r, err := recorded.Request(e.Input)
	if err != nil {
		if !decided { // a reference that the loader itself refused
			return undecided()
		}
		return &outcome{why: recorded.WhyBadInput, detail: err.Error()}
	}
	o := undecided()
	if decided || p.Old != nil {
		if o, err = p.compare(ctx, e, r, was, decided); err != nil {
			return failed(err)
		}
	}
	if p.Each != nil {
		o.request = r
		if o.answer, err = Ask(ctx, p.New, r); err != nil {
			return failed(err)
		}
	}
	return o
}

func undecided() *outcome {
	return &outcome{why: recorded.WhyNoVerdict, detail: "the load ended before the policy had judged it"}
}

// compare sets the new answer against the old. What was recorded before anything was looked at has no facts to be judged on.
func (p *Replayer) compare(ctx context.Context, e *recorded.Entry, r *policy.Request, was recorded.Verdict, decided bool) (*outcome, error) {
	put, facts := Ask, e.Path == policy.EntrypointDecision && decided
	if !facts {
		put = Reference
	}
	from := recordedAnswer(e, was)
	var err error
	if p.Old != nil {
		if from, err = put(ctx, p.Old, r); err != nil {
			return nil, err
		}
	}
	to, err := put(ctx, p.New, r)
	if err != nil {
		return nil, err
	}
	o := &outcome{row: change.NewRow(about(r), from, to)}
	o.other = o.row == nil && facts && from.Verdict == change.Denied && to.Verdict == change.Denied && !slices.Equal(from.Codes, to.Codes)
	switch {
	case o.row != nil:
		o.request = r
	case !o.other && p.Each == nil:
		return &p.unchanged, nil
	}
	return o, nil
}

func failed(err error) *outcome {
	if errors.Is(err, policy.ErrRequest) {
		return &outcome{why: recorded.WhyBadInput, detail: err.Error()}
	}
	return &outcome{why: recorded.WhyEngine, detail: err.Error()}
}

func recordedAnswer(e *recorded.Entry, v recorded.Verdict) change.Answer {
	verdict := change.Denied
	switch {
	case v.Allowed && e.Path == policy.EntrypointMayAsk:
		verdict = change.Undecided
	case v.Allowed:
		verdict = change.Allowed
	}
	return change.NewAnswer(verdict, v.Codes, v.Grants, v.Obligations)
}

func about(r *policy.Request) change.Subject {
	s := change.Subject{
		Service: r.Subject.Service, Action: r.Action, Source: r.Resource.Source, Name: r.Resource.Name, Purpose: r.Resource.Purpose,
		Origin: r.Resource.Origin,
	}
	if s.Source == policy.SourceFile {
		s.Path = r.Resource.Path
	}
	return s
}

// count takes one entry over.
func (p *Replayer) count(name string, j judged) {
	r := &p.Result
	r.Entries++
	if j.kind == recorded.Aside {
		r.Aside++
		return
	}
	o := j.outcome
	if o.why != "" {
		if r.Unclear == nil {
			r.Unclear = map[string]int{}
		}
		if r.Unclear[o.why]++; r.Unclear[o.why] == 1 {
			r.Samples = append(r.Samples, Sample{o.why, fmt.Sprintf("%s:%d", name, j.line), o.detail})
		}
		p.tell(o)
		return
	}
	r.Replayed++
	switch {
	case o.row != nil:
		r.Table.Add(o.row, change.Witness{
			Place: fmt.Sprintf("%s:%d", name, j.line), DecisionID: j.entry.ID, Timestamp: j.entry.Timestamp, Input: o.request,
		})
	case o.other:
		r.Other++
	default:
		r.Same++
	}
	p.tell(o)
}

func (p *Replayer) tell(o *outcome) {
	if p.Each != nil && o.request != nil {
		p.Each(o.request, o.answer)
	}
}
