// Package spelling finds the word that was meant. Where a misspelt name is ignored without a sound, as in a unit or in a
// set of rules, the loss of what it says has to be told, and told so that it can be mended.
package spelling

import "strings"

// Closest returns the known word that a misspelt one comes nearest to, or "" when none is near. Case does not count;
// one letter in four may be wrong. Of several equally near it is the first.
func Closest(word string, known []string) string {
	best, least := "", 0
	word = strings.ToLower(word)
	for _, k := range known {
		if n := len(word) - len(k); n > len(k) || -n > len(k) {
			continue // far off, and not worth the time that a hostile word takes
		}
		d := distance(word, strings.ToLower(k))
		if d <= len(k)/4 && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters that have to be put in, taken out or replaced (Levenshtein), a swap of neighbours as one. It
// keeps the last three rows of the table only: a hostile text has thousands of words.
func distance(a, b string) int {
	var room [3][64]int
	rows := [3][]int{room[0][:], room[1][:], room[2][:]}
	if len(b) >= len(room[0]) {
		rows = [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	}
	for i := range len(a) + 1 {
		row, before, twice := rows[i%3], rows[(i+2)%3], rows[(i+1)%3]
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				row[j] = i + j
				continue
			}
			replaced := before[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(before[j]+1, row[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twice[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
