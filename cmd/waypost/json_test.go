package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write JSON.md anew")

// jsonOf says which type each command prints with --json.
var jsonOf = map[string]string{
	"waypost queue list": "an array of Message", "waypost queue show": "a Message for each ID",
	"waypost queue stats": "queueStats", "waypost queue verify": "verified",
	"waypost queue compact": "Compacted", "waypost queue backup": "BackedUp",
	"waypost queue retry": "Changed, and with --dry-run Counted", "waypost queue hold": "Changed, and with --dry-run Counted",
	"waypost queue release": "Changed, and with --dry-run Counted", "waypost queue remove": "Changed, and with --dry-run Counted",
	"waypost queue bounce": "Changed, and with --dry-run Counted", "waypost queue reroute": "Changed, and with --dry-run Counted",
	"waypost trace": "a Message for each one, and with --follow a Followed for each event", "waypost top": "a Top for each interval", "waypost debug": "a Debugged for each thing that was said",
	"waypost check": "checkedConfig", "waypost health": "Health", "waypost version": "builtFrom",
	"waypost explain": "Explanation", "waypost reload": "Reloaded",
	"waypost bench": "an array of benchReport", "waypost dkim check": "a checkedKey for each key", "waypost user list": "a listedUser for each user",
	"waypost user add": "changedUser", "waypost user passwd": "changedUser", "waypost user remove": "changedUser",
	"waypost queue cat": "catMessage", "waypost queue import": "Imported", "waypost queue export": "Exported, and with --dry-run Counted",
	"waypost dkim generate": "generatedKey", "waypost sink": "an Event for each mail and for each recipient that was refused, and one with the totals at the end",
}

// withoutJSON are the commands that print nothing for a program to read, each with
// what it prints instead.
var withoutJSON = map[string]string{
	"waypost":                       "help",
	"waypost completion":            "help",
	"waypost completion bash":       "a script for the shell",
	"waypost completion fish":       "a script for the shell",
	"waypost completion powershell": "a script for the shell",
	"waypost completion zsh":        "a script for the shell",
	"waypost dkim":                  "help",
	"waypost help":                  "help",
	"waypost man":                   "the pages, in files",
	"waypost queue":                 "help",
	"waypost sendmail":              "what sendmail prints, for programs that run sendmail",
	"waypost serve":                 "the log, which is JSON already",
	"waypost user":                  "help",
}

// structure is one type in the documentation.
type structure struct {
	name, doc string
	fields    []field
	embeds    []string
}

type field struct{ name, kind, doc string }

// structures reads the types that have JSON in the packages that print it.
func structures(t *testing.T) map[string]*structure {
	t.Helper()
	all := map[string]*structure{}
	for _, dir := range []string{".", "internal/bench", "internal/letter", "internal/sink", "../../relay/control", "../../relay/dialogue"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				decl, ok := n.(*ast.GenDecl)
				if !ok || decl.Tok != token.TYPE {
					return true
				}
				for _, spec := range decl.Specs {
					spec := spec.(*ast.TypeSpec)
					if s, ok := spec.Type.(*ast.StructType); ok {
						one := newStructure(spec.Name.Name, prose(decl.Doc), s)
						if len(one.fields) == 0 {
							continue // it is no JSON
						}
						if all[one.name] != nil {
							t.Errorf("two types have the name %q", one.name)
						}
						all[one.name] = one
					}
				}
				return true
			})
		}
	}
	return all
}

func prose(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }

func newStructure(name, doc string, s *ast.StructType) *structure {
	out := &structure{name: name, doc: doc}
	shared := "" // a comment above several fields is about all of them
	for _, f := range s.Fields.List {
		kind := kindOf(f.Type)
		if len(f.Names) == 0 {
			out.embeds = append(out.embeds, kind)
			continue
		}
		if f.Tag == nil {
			continue
		}
		tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		switch {
		case f.Doc != nil:
			shared = prose(f.Doc)
		case f.Comment != nil:
			shared = prose(f.Comment)
		}
		meaning := shared
		if f.Comment == nil && !strings.Contains(shared, f.Names[0].Name) {
			meaning = "" // it is about those before, and this one's name says all
		}
		out.fields = append(out.fields, field{tag, kind, meaning})
	}
	return out
}

// kindOf is a Go type in the words of JSON.
func kindOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return kindOf(e.X)
	case *ast.ArrayType:
		return "array of " + kindOf(e.Elt)
	case *ast.MapType:
		return "object of " + kindOf(e.Value)
	case *ast.SelectorExpr:
		return kindOf(e.Sel)
	case *ast.Ident:
		switch {
		case e.Name == "bool":
			return "true or false"
		case strings.HasPrefix(e.Name, "int"), strings.HasPrefix(e.Name, "float"), strings.HasPrefix(e.Name, "uint"):
			return "number"
		case e.Name == "Code", e.Name == "string":
			return "string"
		case e.Name == "Time":
			return "time"
		case e.Name == "RawMessage":
			return "object"
		}
		return e.Name
	}
	return "value"
}

// document is JSON.md.
func document(t *testing.T, commands []string) string {
	all := structures(t)
	var b strings.Builder
	b.WriteString("# What the commands print with --json\n\n" +
		"Made of the program's own types by `go test ./cmd/waypost -run TestJSONDocument -update`. Names may be added, but none changes or goes.\n" +
		"A field that says so is left out where there is nothing to say. Times are in UTC, as RFC 3339 has them; sizes are in octets.\n\n" +
		"| command | prints |\n|---|---|\n")
	var wanted []string
	for _, name := range commands {
		text := jsonOf[name]
		for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
			if all[word] != nil {
				text = strings.Replace(text, word, "["+word+"](#"+strings.ToLower(word)+")", 1)
				wanted = append(wanted, word)
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, text)
	}
	for i := 0; i < len(wanted); i++ {
		s := all[wanted[i]]
		if slices.Contains(wanted[:i], s.name) {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.name, s.doc)
		for _, e := range s.embeds {
			fmt.Fprintf(&b, "It has the fields of [%s](#%s) as well.\n", e, strings.ToLower(e))
			wanted = append(wanted, e)
		}
		if len(s.fields) > 0 {
			b.WriteString("\n| field | is | meaning |\n|---|---|---|\n")
		}
		for _, f := range s.fields {
			kind := f.kind
			if last := kind[strings.LastIndexByte(kind, ' ')+1:]; all[last] != nil {
				kind = strings.Replace(kind, last, "["+last+"](#"+strings.ToLower(last)+")", 1)
				wanted = append(wanted, last)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.name, kind, strings.ReplaceAll(f.doc, "|", "\\|"))
		}
	}
	return b.String()
}

// TestJSONDocument has every command take --json, but for those that have nothing
// to print with it, and every one documented, field by field.
func TestJSONDocument(t *testing.T) {
	seen, err := os.ReadFile("testdata/script/json.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		path := c.CommandPath()
		without, with := withoutJSON[path], c.LocalFlags().Lookup("json") != nil || c.InheritedFlags().Lookup("json") != nil
		switch {
		case with && without == "":
			commands = append(commands, path)
			if jsonOf[path] == "" {
				t.Errorf("nothing says what %q prints with --json", path)
			}
			if !strings.Contains(string(seen), "\ndocumented '"+path+"' ") {
				t.Errorf("testdata/script/json.txtar does not look at what %q prints with --json", path)
			}
		case !with && without == "":
			t.Errorf("%q has no --json", path)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	root := (&program{stdout: io.Discard, stderr: io.Discard}).rootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	walk(root)
	if len(commands) != len(jsonOf) {
		t.Errorf("%d commands have --json, and %d are described", len(commands), len(jsonOf))
	}
	slices.Sort(commands)
	want := document(t, commands)
	if strings.Contains(want, "| value |") {
		t.Error("a field has a type that is not known here")
	}
	if *update {
		if err := os.WriteFile("JSON.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("JSON.md"); err != nil || string(got) != want {
		t.Errorf("JSON.md is not what the types say (%v): write it anew with -update", err)
	}
}
