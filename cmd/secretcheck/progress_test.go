package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestCHK1046ProgressLine: CHK-1046. Nothing for what is quick, then a line at a measured pace, escaped and bounded, and
// nothing is left of it.
func TestCHK1046ProgressLine(t *testing.T) {
	var out strings.Builder
	var clock time.Time
	p := startProgress(&out, func() time.Time { return clock })
	wants := []struct {
		after time.Duration
		want  string
	}{
		{patience - 1, ""}, {patience, "\r\x1b[Kread 2"}, {patience + 1, ""}, {patience + pace, "\r\x1b[Kread 4"},
	}
	for i, w := range wants {
		clock = time.Time{}.Add(w.after)
		out.Reset()
		if p.at("read %d", i+1); out.String() != w.want {
			t.Errorf("after %v: %q, want %q", w.after, out.String(), w.want)
		}
	}
	out.Reset()
	clock = clock.Add(time.Hour)
	p.at("%s", "\x1b[2J"+strings.Repeat("ü", 100))
	if line := strings.TrimPrefix(out.String(), "\r\x1b[K"); strings.Contains(line, "\x1b") || len([]rune(line)) != longest || !strings.HasSuffix(line, "…") {
		t.Errorf("%q", line)
	}
	out.Reset()
	p.end()
	p.end()
	if out.String() != "\r\x1b[K" {
		t.Errorf("at the end %q", out.String())
	}
	quick := startProgress(&out, time.Now)
	out.Reset()
	if quick.end(); out.Len() > 0 {
		t.Errorf("a quick run ends with %q", out.String())
	}
}

// TestCHK1046NoTerminal: CHK-1046. A pipe and a file get no line.
func TestCHK1046NoTerminal(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if newProgress(file) != nil || newProgress(&strings.Builder{}) != nil {
		t.Error("a line for what is no terminal")
	}
	var none *progress
	none.at("x")
	none.end()
}
