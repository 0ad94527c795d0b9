package collect

import (
	"io"
	"os"
	"syscall"
)

// readRegular reads a whole regular file of bounded size. The type is looked at before the open, because opening a
// device can do something, and after it, because the file may have been swapped; a FIFO that got in between does not
// block.
func readRegular(p string) ([]byte, os.FileInfo, error) { return readBounded(p, maxFile) }

func readBounded(p string, limit int64) ([]byte, os.FileInfo, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, notRegular(info.Mode())
	}
	f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, notRegular(info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLarge(limit)
	}
	return data, info, err
}
