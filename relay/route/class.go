package route

import "fmt"

// ReplyClass is a set of reply codes: three characters of which each is a digit
// or x for any, as in "4xx", "45x" or "554". No other than 4yz and 5yz replies
// refuse mail.
type ReplyClass string

// Has reports whether a reply code is in the class.
func (c ReplyClass) Has(code int) bool {
	text := fmt.Sprintf("%03d", code)
	for i := range len(c) {
		if c[i] != 'x' && c[i] != text[i] {
			return false
		}
	}
	return len(c) == len(text)
}

// FailsOver reports whether a reply of that code leads on to the next leg.
func (r *Route) FailsOver(code int) bool {
	for _, class := range r.FailOver {
		if class.Has(code) {
			return true
		}
	}
	return false
}
