package diff

// suffixes follows a string character by character and knows which of a list of
// strings it ends with (Aho and Corasick, "Efficient string matching", 1975). The
// zero value follows no string.
type suffixes struct {
	list []string
	next []map[byte]int
	fail []int
	// longest is the index in list of the longest string that ends at a state,
	// or -1.
	longest []int
}

func newSuffixes(list []string) *suffixes {
	s := &suffixes{list: list}
	s.add()
	for i, text := range list {
		at := 0
		for j := range len(text) {
			to, ok := s.next[at][text[j]]
			if !ok {
				to = s.add()
				s.next[at][text[j]] = to
			}
			at = to
		}
		if at > 0 {
			s.longest[at] = i
		}
	}
	queue := []int{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for c, to := range s.next[at] {
			if at > 0 {
				s.fail[to] = s.step(s.fail[at], c)
			}
			if s.longest[to] < 0 {
				s.longest[to] = s.longest[s.fail[to]]
			}
			queue = append(queue, to)
		}
	}
	return s
}

func (s *suffixes) add() int {
	s.next, s.fail, s.longest = append(s.next, map[byte]int{}), append(s.fail, 0), append(s.longest, -1)
	return len(s.next) - 1
}

// step is the state after one more character.
func (s *suffixes) step(at int, c byte) int {
	for {
		if to, ok := s.next[at][c]; ok {
			return to
		}
		if at == 0 {
			return 0
		}
		at = s.fail[at]
	}
}
