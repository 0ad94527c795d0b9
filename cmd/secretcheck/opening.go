package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/llorch/secrets-management/policy"
)

// opening is a policy that is made ready while descriptors are read: on two processors that takes no time of its own.
type opening struct {
	done   chan struct{}
	bundle *policy.Bundle
	engine *policy.Engine
	err    error
}

func openPolicy(ctx context.Context, path string, interpreter bool) *opening {
	o := &opening{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if o.bundle, o.err = loadPolicy(ctx, path); o.err != nil {
			return
		}
		o.engine, o.err = policy.Open(ctx, o.bundle, policy.Options{Interpreter: interpreter, Limits: patient()})
		if o.err != nil {
			o.err = unusable(path, o.err)
		}
	}()
	return o
}

// wait returns the policy once it is ready.
func (o *opening) wait() (*policy.Bundle, *policy.Engine, error) {
	<-o.done
	return o.bundle, o.engine, o.err
}

// close frees the policy, whatever has become of it.
func (o *opening) close() {
	if <-o.done; o.engine != nil {
		o.engine.Close()
	}
}

// fewBytes is up to where descriptors have so few loads that the interpreter, which starts 26 ms earlier, is done before the
// compiler: a load takes two questions of 0.4 ms, and some hundred bytes.
const fewBytes = 8 << 10

// fewEntries bounds what is looked at to find out.
const fewEntries = 64

// few reports whether what was named is files, and folders of files, and little of them.
func few(paths []string) bool {
	bytes, entries := int64(0), 0
	for _, p := range paths {
		err := filepath.WalkDir(p, func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			switch entries++; {
			case err != nil:
				return err
			case info.Mode().IsRegular():
				bytes += info.Size()
			case !info.IsDir():
				return errNotFew
			}
			if bytes > fewBytes || entries > fewEntries {
				return errNotFew
			}
			return nil
		})
		if err != nil {
			return false
		}
	}
	return len(paths) > 0
}

var errNotFew = errors.New("much, or it cannot be told")
