package relay

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// number is that of an item of a standard or of a hostile input. Those of faults
// begin with R: they are in queue/README.md.
const number = `(?:[0-9]{4}(?:-[0-9A-Z][0-9.]*)?-[a-z]|[A-QS-Z]-[0-9]{2})`

var (
	onlyNumber = regexp.MustCompile(`^` + number + `$`)
	// numbered is text that begins with numbers.
	numbered = regexp.MustCompile(`^` + number + `(?:[ ,]+` + number + `)*(?:$|[ ,:])`)
	level    = regexp.MustCompile(`^(?:server|client|queue|both) (?:must|should|may)$`)
	testName = regexp.MustCompile("^`([a-z/]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`$")
)

// TestConformanceDocument holds CONFORMANCE.md and the tests of the whole tree to
// each other.
func TestConformanceDocument(t *testing.T) {
	tests := numbersOfTests(t, "..")
	inTests := map[string][]string{} // number → tests
	for test, numbers := range tests {
		for n := range numbers {
			inTests[n] = append(inTests[n], test)
		}
	}
	rows := conformanceRows(t)
	for n, row := range rows {
		for _, test := range row {
			if numbers, ok := tests[test]; !ok {
				t.Errorf("%s: there is no test %s", n, test)
			} else if !numbers[n] {
				t.Errorf("%s: %s does not name it", n, test)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(inTests)) {
		if _, ok := rows[n]; !ok {
			t.Errorf("%s is in %s and not in CONFORMANCE.md", n, strings.Join(inTests[n], ", "))
		}
	}
}

// conformanceRows returns the tests of each number in CONFORMANCE.md.
func conformanceRows(t *testing.T) map[string][]string {
	text, err := os.ReadFile("CONFORMANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	columns := 0
	for i, line := range strings.Split(string(text), "\n") {
		complain := func(what string) { t.Errorf("CONFORMANCE.md:%d: %s", i+1, what) }
		cells, ok := strings.CutPrefix(line, "| ")
		if !ok {
			continue
		}
		row := strings.Split(strings.TrimSuffix(cells, " |"), " | ")
		if row[0] == "number" {
			columns = len(row)
			continue
		}
		n := row[0]
		if _, twice := rows[n]; twice {
			complain(n + " is here twice")
		}
		if !onlyNumber.MatchString(n) {
			complain(n + " is no number")
		}
		if len(row) != columns || slices.Contains(row, "") {
			complain("a row has a cell for each column")
			continue
		}
		if columns == 5 && !level.MatchString(row[1]) {
			complain(row[1] + " is no level")
		}
		rows[n] = nil
		if last := row[columns-1]; last != "—" {
			rows[n] = testsOf(last, complain)
		} else if !strings.HasPrefix(row[columns-2], "Not:") {
			complain("there is neither a test nor a reason why not")
		}
	}
	if len(rows) == 0 {
		t.Fatal("there are no rows in CONFORMANCE.md")
	}
	return rows
}

// testsOf reads the last cell of a row.
func testsOf(cell string, complain func(string)) (tests []string) {
	for name := range strings.SplitSeq(cell, ", ") {
		m := testName.FindStringSubmatch(name)
		if m == nil {
			complain(name + " is no test")
			continue
		}
		tests = append(tests, m[1]+"."+m[2])
	}
	return tests
}

// declarations are what the test files of one package declare at the top: the
// numbers in it, and the names that it uses.
type declarations map[string]declaration

type declaration struct{ numbers, names map[string]bool }

// numbersOfTests returns the numbers that each test under root names, in itself or
// in what it uses of its package's test files.
func numbersOfTests(t *testing.T, root string) map[string]map[string]bool {
	packages := map[string]declarations{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		if packages[pkg] == nil {
			packages[pkg] = declarations{}
		}
		packages[pkg].read(file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]map[string]bool{}
	for pkg, all := range packages {
		for name := range all {
			if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") {
				tests[pkg+"."+name] = all.numbers(name, map[string]bool{})
			}
		}
	}
	return tests
}

func (all declarations) read(file *ast.File) {
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil {
				all.add(decl.Name.Name, decl)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				if values, ok := spec.(*ast.ValueSpec); ok {
					for _, name := range values.Names {
						all.add(name.Name, values)
					}
				}
			}
		}
	}
}

func (all declarations) add(name string, node ast.Node) {
	d := declaration{map[string]bool{}, map[string]bool{}}
	others := map[*ast.Ident]bool{} // fields and methods
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			others[n.Sel] = true
		case *ast.Ident:
			d.names[n.Name] = d.names[n.Name] || !others[n]
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
				d.note(text)
			}
		case *ast.Comment:
			d.note(strings.TrimPrefix(n.Text, "// "))
		}
		return true
	})
	for _, local := range locals(node) {
		d.names[local] = false
	}
	all[name] = d
}

// locals returns the names that a declaration has for itself.
func locals(node ast.Node) (names []string) {
	note := func(all ...ast.Expr) {
		for _, e := range all {
			if id, ok := e.(*ast.Ident); ok {
				names = append(names, id.Name)
			}
		}
	}
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				note(id)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				note(n.Lhs...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				note(n.Key, n.Value)
			}
		}
		return true
	})
	return names
}

// note takes the numbers that text begins with.
func (d declaration) note(text string) {
	for _, n := range strings.FieldsFunc(numbered.FindString(text), func(r rune) bool { return strings.ContainsRune(" ,:", r) }) {
		d.numbers[n] = true
	}
}

// numbers returns those of a declaration and of all that it uses.
func (all declarations) numbers(name string, seen map[string]bool) map[string]bool {
	numbers := map[string]bool{}
	if d, ok := all[name]; ok && !seen[name] {
		seen[name] = true
		maps.Copy(numbers, d.numbers)
		for name, used := range d.names {
			if used {
				maps.Copy(numbers, all.numbers(name, seen))
			}
		}
	}
	return numbers
}
