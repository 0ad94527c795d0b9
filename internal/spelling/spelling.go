// Package spelling finds the word that was meant. Where a misspelt name is ignored without a sound, as in a unit or in a
// set of rules, the loss of what it says has to be told, and told so that it can be mended.
package spelling

import "strings"

// Closest returns the known word that a misspelt one comes nearest to, or "" when none is near. Case does not count;
// one letter in four may be wrong. Of several equally near it is the first.
func Closest(word string, known []string) string {
	best, least := "", 0
	for _, k := range known {
		if n := len(word) - len(k); n > len(k) || -n > len(k) {
			continue // far off, and not worth the time that a hostile word takes
		}
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d <= len(k)/4 && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters that have to be put in, taken out or replaced (Levenshtein), a swap of neighbours as one.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
