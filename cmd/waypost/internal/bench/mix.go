package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// Mix is values with how often each of them comes, relative to the others.
type Mix[T any] []Share[T]

// Share is one value of a Mix.
type Share[T any] struct {
	Value  T
	Weight int
}

func (m Mix[T]) total() int {
	sum := 0
	for _, share := range m {
		sum += share.Weight
	}
	return sum
}

// at returns the n-th value of an endless sequence in which each value comes
// as often as its weight says in each round, and spread over the round.
func (m Mix[T]) at(n int) (value T) {
	total := m.total()
	if total == 0 {
		return value
	}
	// A step without a divisor in common with the round visits all of it.
	step := total*5/8 + 1
	for gcd(step, total) != 1 {
		step++
	}
	n = n % total * step % total
	for _, share := range m {
		if n < share.Weight {
			return share.Value
		}
		n -= share.Weight
	}
	return value
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// ParseMix reads "value", or "value:weight,value:weight".
func ParseMix[T any](text string, parse func(string) (T, error)) (Mix[T], error) {
	var m Mix[T]
	for part := range strings.SplitSeq(text, ",") {
		word, weight, weighted := strings.Cut(part, ":")
		share := Share[T]{Weight: 1}
		var err error
		if share.Value, err = parse(strings.TrimSpace(word)); err != nil {
			return nil, err
		}
		if weighted {
			if share.Weight, err = strconv.Atoi(strings.TrimSpace(weight)); err != nil || share.Weight < 1 || share.Weight > 10_000 {
				return nil, fmt.Errorf("%q: the weight behind the colon is a number from 1 to 10000", part)
			}
		}
		m = append(m, share)
	}
	return m, nil
}

// ParseBody returns the kind of that name.
func ParseBody(word string) (Body, error) {
	if _, ok := lines[Body(word)]; !ok {
		return "", fmt.Errorf("unknown kind of body %q: there are text, dots, long and 8bit", word)
	}
	return Body(word), nil
}

// Range is a number from Low to High. Its zero value is 1.
type Range struct{ Low, High int }

// at returns the n-th number: one after the other, and then again.
func (r Range) at(n int) int {
	if r.High < 1 {
		return 1
	}
	return r.Low + n%(r.High-r.Low+1)
}

// String returns "3" or "1-20".
func (r Range) String() string {
	if r.Low == r.High {
		return strconv.Itoa(r.at(0))
	}
	return fmt.Sprintf("%d-%d", r.Low, r.High)
}

// Set reads what String returns; each is from 1 to 1000.
func (r *Range) Set(text string) error {
	low, high, both := strings.Cut(text, "-")
	if !both {
		high = low
	}
	var got Range
	var err error
	if got.Low, err = strconv.Atoi(low); err == nil {
		got.High, err = strconv.Atoi(high)
	}
	if err != nil || got.Low < 1 || got.High < got.Low || got.High > 1000 {
		return fmt.Errorf("%q is no number, or two as in 1-20, from 1 to 1000", text)
	}
	*r = got
	return nil
}

// Type is what help calls it.
func (*Range) Type() string { return "number" }
