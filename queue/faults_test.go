package queue

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	faultRow    = regexp.MustCompile(`(?m)^\| (R-\d\d) \|.*\| (.*) \|$`)
	faultTest   = regexp.MustCompile("`((?:Test|Benchmark)\\w+)`(\\*?)")
	faultNumber = regexp.MustCompile(`R-\d\d\b`)
	documented  = regexp.MustCompile(`(?m)((?:^//.*\n)*)^func ((?:Test|Benchmark)\w+)\(`)
)

// shown is a test and the numbers of faults that its comment says it shows.
type shown struct {
	numbers []string
	interop bool
}

// Each fault that README.md lists has tests, each of these exists and says so, and
// none says so that is not in the list.
func TestFaultsHaveTests(t *testing.T) {
	tests := map[string]shown{}
	for _, dir := range []string{".", "../cmd/waypost"} {
		names, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range documented.FindAllStringSubmatch(string(text), -1) {
				tests[m[2]] = shown{faultNumber.FindAllString(m[1], -1), strings.HasPrefix(string(text), "//go:build interop\n")}
			}
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string][]string{} // numbers by test
	var numbers []string
	for _, row := range faultRow.FindAllStringSubmatch(string(readme), -1) {
		named := faultTest.FindAllStringSubmatch(row[2], -1)
		if len(named) == 0 {
			t.Errorf("%s has no test", row[1])
		}
		numbers = append(numbers, row[1])
		for _, m := range named {
			listed[m[1]] = append(listed[m[1]], row[1])
			if starred := m[2] != ""; tests[m[1]].interop != starred {
				t.Errorf("%s: %s is behind the tag interop: %v; its star says %v", row[1], m[1], !starred, starred)
			}
		}
	}
	for name, numbers := range listed {
		if is, ok := tests[name]; !ok || !slices.Equal(is.numbers, numbers) {
			t.Errorf("%s is listed for %v, and says that it shows %v (it exists: %v)", name, numbers, is.numbers, ok)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if len(tests[name].numbers) > 0 && listed[name] == nil {
			t.Errorf("%s says that it shows %v, and is not listed", name, tests[name].numbers)
		}
	}
	if want := 18; len(numbers) < want || !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != len(numbers) {
		t.Errorf("the numbers are %v, want at least %d in order, each once", numbers, want)
	}
}
