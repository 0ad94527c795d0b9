//go:build linux

package features

import (
	"fmt"
	"strconv"

	"github.com/cucumber/godog"
)

// quotedColumn reads the one column of a table that has texts in Go's notation, for what cannot be written otherwise.
func quotedColumn(table *godog.Table, head string) ([]string, error) {
	if len(table.Rows) < 2 {
		return nil, fmt.Errorf("a table with a head and rows is expected, it has %d rows", len(table.Rows))
	}
	var texts []string
	column := -1
	for i, row := range table.Rows {
		for j, cell := range row.Cells {
			if i == 0 && cell.Value == head {
				column = j
			}
		}
		if column < 0 {
			return nil, fmt.Errorf("no column %q", head)
		}
		if i == 0 {
			continue
		}
		text, err := strconv.Unquote(`"` + row.Cells[column].Value + `"`)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		texts = append(texts, text)
	}
	return texts, nil
}
